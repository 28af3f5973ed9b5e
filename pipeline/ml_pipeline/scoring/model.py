"""The model that scores: what an environment serves, a registered version, or a bundle's folder."""

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
class Model:
    """A verified bundle and its number in the registry; None where nothing gave it one."""

    bundle: Bundle
    version: int | None

    @property
    def named(self) -> str:
        number = "" if self.version is None else f"version {self.version}, "
        return f"{number}bundle {self.bundle.digest[:12]}"


def from_folder(path: Path) -> Model:
    """Return the bundle in a folder.

    Raises:
        Refused: it does not verify.
    """
    if not path.is_dir():
        raise Refused(f"{path} is no folder", expected="a bundle's folder")
    return Model(Bundle.open(path), None)


def served(project: Project, home: Home, environment: str) -> Model:
    """Return what an environment serves: the released copy that its server reads.

    Raises:
        EnvironmentFault: nothing answers there.
        Refused: the copy does not verify, or is not what the server says that it serves.
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
    return Model(bundle, running.version)


@contextmanager
def registered(project: Project, home: Home, number: int, progress: Progress) -> Iterator[Model]:
    """Yield a version of the registry, in a folder that is gone afterwards.

    Raises:
        UsageError: the registry has no such version.
        EnvironmentFault: the registry does not answer.
        Refused: the bundle is not the one that was registered.
    """
    registry = Registry.of(project, home, progress)
    version = registry.read().version(number)
    with TemporaryDirectory(prefix="scored-by-") as scratch:
        bundle = registry.bundles.download(version, Path(scratch) / "bundle")
        yield Model(Bundle.open(bundle), version.number)
