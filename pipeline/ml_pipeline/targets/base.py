"""What every deployment target can do, whatever it starts: a process, a container, a pod.

A target is a class with the three methods of ``Target``, made without arguments and named by an
entry point of the group ``ml_pipeline.targets``. tests/targets/test_target.py is what it must keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from ml_pipeline.config import EnvironmentSection, Project, ServingSection
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.home import Home


@dataclass(frozen=True)
class Placement:
    """An environment as a target sees it: what it is called, how it serves, whose it is."""

    name: str
    """Of the environment, such as ``staging``."""
    section: EnvironmentSection
    serving: ServingSection
    home: Home
    """Where the target keeps released bundles and what it must know of its servers."""

    @classmethod
    def of(cls, project: Project, name: str, home: Home) -> Placement:
        """Return the placement of the environment ``name``, which the project has."""
        return cls(name, project.config.environments[name], project.serving, home)


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
    """Where servers run.

    One command at a time deploys to a placement: ``ml_pipeline.targets.environment_lock``.
    """

    def handover(self, placement: Placement, bundle: Path, version: int | None) -> Handover:
        """Start the bundle beside what serves, prove it healthy, then let it serve instead.

        The same bundle, version and settings again change nothing.

        Args:
            placement: Where it is to serve.
            bundle: A folder that may vanish afterwards; it is copied by
                ``ml_pipeline.targets.released_bundles``.
            version: Of the registry, told to clients; None for a bundle that is not registered.

        Raises:
            Refused: the bundle does not verify, the server is not ready or its golden predictions
                are wrong. What served before serves on.
            UsageError: the placement's settings are not available here.
            EnvironmentFault: the port belongs to somebody else, or the server cannot be started.
        """

    def status(self, placement: Placement) -> Deployment | None:
        """Return what the placement serves, or None unless it answers as recorded."""

    def stop(self, placement: Placement) -> bool:
        """End the server after its open requests; say whether there was one."""


@runtime_checkable
class LogsElsewhere(Protocol):
    """A target whose servers write their prediction log where this machine does not read it."""

    def bring_predictions(self, placement: Placement) -> None:
        """Copy what was logged so far into ``server_arguments.log_of(placement)``.

        Raises:
            EnvironmentFault: the servers' place or this disk is unavailable.
        """


def check_digest(environment: str, deployment: Deployment, digest: str) -> None:
    """Compare what a target serves with what it was given; asked before it is kept.

    Raises:
        Refused: it serves another bundle.
    """
    if deployment.digest != digest:
        raise Refused(f"{environment} serves bundle {deployment.digest[:12]}", expected=digest[:12])


@dataclass(frozen=True)
class Copying:
    """What a live shadow does: a share of the champion's requests goes to a challenger as well."""

    champion: Deployment
    challenger: Placement
    served: Deployment
    """By the challenger's placement."""
    positions: tuple[int | None, ...] | None
    """Of the challenger's features among the champion's; None where they are the same."""
    contract: str | None
    """The digest that the challenger needs for rows by position, if it needs one."""
    share: float
    """0 to 1."""
    timeout: float
    """Seconds that the challenger may take."""
    task: dict[str, Any] | None = None
    """The record of the models' task; None for binary classification."""


@dataclass(frozen=True)
class Counts:
    """Requests that were to be copied, and those of them that were not."""

    offered: int
    dropped: int


@runtime_checkable
class CopiesRequests(Protocol):
    """A target whose servers can copy what they are asked to a challenger: a live shadow.

    No answer may wait for the copying: a bounded queue, whose drops are counted. The copies' reader
    (``ml_pipeline.traffic.mirror_reader``) is no part of the server. It outlives the command.
    """

    def start_shadow(self, placement: Placement, copying: Copying) -> dict[str, Any]:
        """Begin to copy; a shadow of the same challenger that an interrupted start left is ended.

        Returns:
            What the other methods need to find it again, as JSON.

        Raises:
            UsageError: the challenger cannot be reached from where the servers are.
            EnvironmentFault: the server does not copy.
        """

    def shadow_counts(self, shadow: dict[str, Any]) -> Counts | None:
        """Return what was copied so far; None if the copying has ended."""

    def shadow_records(self, shadow: dict[str, Any]) -> Path:
        """Return a file of this machine with what was written down so far, also once it ended."""

    def end_shadow(self, shadow: dict[str, Any]) -> Counts | None:
        """End the copying, wait for the last answer, leave nothing but the records.

        Returns:
            The counts; None if the copying had ended before.
        """


def deploy(target: Target, placement: Placement, bundle: Path, version: int | None) -> Deployment:
    """Hand over and commit at once. Raises as ``Target.handover`` does."""
    with target.handover(placement, bundle, version) as handover:
        handover.commit()
    return handover.deployment
