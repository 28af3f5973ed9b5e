"""The model to score with: that of an environment, a registered version, or a bundle's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import Project
from ml_pipeline.core.errors import EnvironmentFault, Refused
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Progress
from ml_pipeline.registry.registry import Registry
from ml_pipeline.targets.base import Placement
from ml_pipeline.targets.loader import load_target


@dataclass(frozen=True)
class ScoringModel:
    """A verified bundle and its registered version; None if it is not registered."""

    bundle: Bundle
    version: int | None

    @property
    def description(self) -> str:
        number = "" if self.version is None else f"version {self.version}, "
        return f"{number}bundle {self.bundle.digest[:12]}"


def model_from_folder(path: Path) -> ScoringModel:
    """Return the bundle in a folder.

    Raises:
        Refused: it does not verify.
    """
    if not path.is_dir():
        raise Refused(f"{path} is not a folder", expected="a bundle's folder")
    return ScoringModel(Bundle.open(path), None)


def served_model(project: Project, home: Home, environment: str) -> ScoringModel:
    """Return the model of an environment: the released copy that its server reads.

    Raises:
        EnvironmentFault: nothing is served there.
        Refused: the copy does not verify, or differs from what the server reports.
    """
    placement = Placement.of(project, environment, home)
    running = load_target(placement.section.target).status(placement)
    if running is None:
        raise EnvironmentFault(
            f"nothing serves in {environment}",
            hint="deploy or promote a version, or name one with --version",
        )
    bundle = Bundle.open(running.bundle)
    if bundle.digest != running.digest:
        raise Refused(
            f"{environment} serves bundle {running.digest[:12]}, its copy is {bundle.digest[:12]}"
        )
    return ScoringModel(bundle, running.version)


@contextmanager
def registered_model(
    project: Project, home: Home, number: int, progress: Progress
) -> Iterator[ScoringModel]:
    """Yield a registered version, in a temporary folder.

    Raises:
        UsageError: the registry has no such version.
        EnvironmentFault: the registry does not respond.
        Refused: the bundle is not the one that was registered.
    """
    registry = Registry.of(project, home, progress)
    version = registry.read().version(number)
    with TemporaryDirectory(prefix="scored-by-") as scratch:
        bundle = registry.bundles.download(version, Path(scratch) / "bundle")
        yield ScoringModel(Bundle.open(bundle), version.number)
