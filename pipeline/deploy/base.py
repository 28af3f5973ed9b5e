"""What every deployment target can do, whatever it starts: a process, a container, a pod."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from pipeline.config import EnvironmentSection, ServingSection
from pipeline.home import Home


@dataclass(frozen=True)
class Deployment:
    """A version that an environment serves."""

    url: str
    version: int | None
    digest: str
    """SHA-256 of the bundle's manifest."""
    pid: int
    """Of the server, on the machine that it runs on; a container that starts again has another."""
    bundle: Path
    """The released copy in the home that it serves from."""


class Handover(Protocol):
    """A switch that has been made and can still be taken back.

    From ``handover`` on the new version serves and the former one waits. Leaving a ``with``
    block without ``commit`` reverts.
    """

    @property
    def deployment(self) -> Deployment:
        """The version that serves now."""

    @property
    def former(self) -> Deployment | None:
        """The healthy version that served before."""

    @property
    def changed(self) -> bool:
        """Whether anything was started: false where this very bundle served already."""

    def commit(self) -> None:
        """Keep the new version and let the former one finish its requests and end."""

    def revert(self) -> None:
        """Let the former version serve again and end the new one."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class Target(Protocol):
    """Where an environment's server runs."""

    def handover(
        self,
        bundle: Path,
        version: int | None,
        *,
        environment: EnvironmentSection,
        name: str,
        home: Home,
        serving: ServingSection,
    ) -> Handover:
        """Start the bundle beside what serves, prove it healthy, then let it serve instead.

        Raises:
            Refused: the bundle does not verify, the server is not ready or its golden predictions
                are wrong. What served before serves on.
            EnvironmentFault: the port belongs to somebody else, or the server cannot be started.
        """

    def deploy(
        self,
        bundle: Path,
        version: int | None,
        *,
        environment: EnvironmentSection,
        name: str,
        home: Home,
        serving: ServingSection,
    ) -> Deployment:
        """Hand over and commit at once. Raises as ``handover`` does."""

    def status(self, name: str, home: Home) -> Deployment | None:
        """Return what the environment serves, or None unless it answers as recorded."""

    def stop(self, name: str, home: Home) -> bool:
        """End the server after its open requests; say whether there was one."""
