"""The interface of deployment targets, and what they share.

A target is a class with the methods of ``Target``, a constructor without arguments, and an entry
point in the group ``ml_pipeline.targets``. tests/targets/test_target.py is its contract.
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
    """An environment to deploy to: its name, its configuration and its home."""

    name: str
    """Name of the environment, such as ``staging``."""
    section: EnvironmentSection
    serving: ServingSection
    home: Home
    """Where the target stores released bundles and records of its servers."""

    @classmethod
    def of(cls, project: Project, name: str, home: Home) -> Placement:
        """Return the placement of the environment ``name`` of the project."""
        return cls(name, project.config.environments[name], project.serving, home)


@dataclass(frozen=True)
class Deployment:
    """A version that an environment serves."""

    url: str
    version: int | None
    digest: str
    """SHA-256 of the bundle's manifest."""
    pid: int
    """Process id of the server on its machine; a restarted container has another one."""
    bundle: Path
    """The released copy of the bundle in the home."""


class Handover(Protocol):
    """A completed switch that can still be reverted.

    The new version serves, and the former one waits. Leaving the ``with`` block without
    ``commit`` reverts.
    """

    @property
    def deployment(self) -> Deployment:
        """The version that serves now."""

    @property
    def former(self) -> Deployment | None:
        """The healthy version that served before."""

    @property
    def changed(self) -> bool:
        """Whether anything was started; false if the same bundle was served already."""

    def commit(self) -> None:
        """Keep the new version; end the former one after its open requests."""

    def revert(self) -> None:
        """Let the former version serve again, and end the new one."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class Target(Protocol):
    """Starts, switches and stops servers.

    One command at a time deploys to a placement: ``ml_pipeline.targets.environment_lock``.
    """

    def handover(self, placement: Placement, bundle: Path, version: int | None) -> Handover:
        """Start the bundle beside the current server, verify it, then switch to it.

        Deploying the same bundle, version and settings again changes nothing.

        Args:
            placement: The environment to deploy to.
            bundle: A folder that may be removed afterwards; it is copied by
                ``ml_pipeline.targets.released_bundles``.
            version: The registered version; None for a bundle that is not registered.

        Raises:
            Refused: the bundle does not verify, the server is not ready or its golden predictions
                are wrong. The previous server keeps serving.
            UsageError: the placement's settings are not available here.
            EnvironmentFault: the port is in use by another process, or the server does not start.
        """

    def status(self, placement: Placement) -> Deployment | None:
        """Return what the placement serves; None unless the recorded server responds."""

    def stop(self, placement: Placement) -> bool:
        """End the server after its open requests; return whether one was running."""


@runtime_checkable
class HasRemotePredictionLog(Protocol):
    """A target whose servers write their prediction log where this machine cannot read it."""

    def fetch_predictions(self, placement: Placement) -> None:
        """Copy what was logged so far into ``server_arguments.log_folder(placement)``.

        Raises:
            EnvironmentFault: the servers' storage or this disk is unavailable.
        """


def check_digest(environment: str, deployment: Deployment, digest: str) -> None:
    """Check that a target serves the bundle that was deployed; called before the commit.

    Raises:
        Refused: it serves another bundle.
    """
    if deployment.digest != digest:
        raise Refused(f"{environment} serves bundle {deployment.digest[:12]}", expected=digest[:12])


@dataclass(frozen=True)
class ShadowSpec:
    """A live shadow: a share of the champion's requests is copied to a challenger."""

    champion: Deployment
    challenger: Placement
    served: Deployment
    """The deployment of the challenger."""
    positions: tuple[int | None, ...] | None
    """Index of each challenger feature among the champion's; None if they are the same."""
    contract: str | None
    """The contract digest that the challenger requires for rows by position, if any."""
    share: float
    """0 to 1."""
    timeout: float
    """Seconds after which a challenger's response counts as missing."""
    task: dict[str, Any] | None = None
    """The record of the models' task; None for binary classification."""


@dataclass(frozen=True)
class CopyCounts:
    """Requests offered to a live shadow, and those of them that were dropped."""

    offered: int
    dropped: int


@runtime_checkable
class SupportsLiveShadow(Protocol):
    """A target whose servers can copy their requests to a challenger: a live shadow.

    No response may wait for the copying: the queue is bounded and drops are counted. The reader of
    the copies (``ml_pipeline.traffic.mirror_reader``) is not part of the server and outlives the
    command.
    """

    def start_shadow(self, placement: Placement, spec: ShadowSpec) -> dict[str, Any]:
        """Start to copy; end a shadow of the same challenger that an interrupted start left.

        Returns:
            The reference to the shadow that the other methods take, as JSON.

        Raises:
            UsageError: the challenger cannot be reached from where the servers are.
            EnvironmentFault: the server does not copy.
        """

    def shadow_counts(self, shadow: dict[str, Any]) -> CopyCounts | None:
        """Return the counts so far; None if the copying has ended."""

    def shadow_records(self, shadow: dict[str, Any]) -> Path:
        """Return a file of this machine with the records so far; also after the end."""

    def end_shadow(self, shadow: dict[str, Any]) -> CopyCounts | None:
        """End the copying, wait for the last response, remove everything but the records.

        Returns:
            The counts; None if the copying had ended before.
        """


def deploy(target: Target, placement: Placement, bundle: Path, version: int | None) -> Deployment:
    """Hand over and commit at once. Raises the errors of ``Target.handover``."""
    with target.handover(placement, bundle, version) as handover:
        handover.commit()
    return handover.deployment
