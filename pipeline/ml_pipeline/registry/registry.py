"""The registry of one model: its versions, aliases, records, bundles and leases in MLflow.

``Registry.read`` returns versions and aliases in one reading; each part, such as ``aliases``, has
the methods that change or download something.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import locks
from ml_pipeline.core.errors import EnvironmentFault, Refused
from ml_pipeline.core.home import Home
from ml_pipeline.registry import sqlite
from ml_pipeline.registry.aliases import Aliases
from ml_pipeline.registry.artefacts import Artefacts
from ml_pipeline.registry.bundles import Bundles
from ml_pipeline.registry.leases import Leases
from ml_pipeline.registry.mlflow_session import MlflowSession
from ml_pipeline.registry.records import Records
from ml_pipeline.registry.registration import Registered, Registration, lineage_tags
from ml_pipeline.registry.sqlite import SQLITE
from ml_pipeline.registry.versions import CHALLENGER, RegistryState, Version, read_state

if TYPE_CHECKING:
    from ml_pipeline.config import Project
    from ml_pipeline.core.report import Progress

LOCK_TIMEOUT = 60.0
"""Seconds to wait for another process that registers into the same home."""


def _no_progress(_what: str, _share: float) -> None:
    """Report nothing."""


class Registry:
    """One registered model.

    Args:
        uri: MLflow tracking URI; None is SQLite in the home.
        name: The registered model.
        home: Holds the database and the artefacts where ``uri`` names no server.
        progress: Called when the first request makes the database, which takes seconds.
        stages: Also set the stages ``Staging`` and ``Production``.
    """

    def __init__(
        self,
        uri: str | None,
        name: str,
        home: Home,
        *,
        progress: Progress = _no_progress,
        stages: bool = False,
    ) -> None:
        self.uri = uri or sqlite.address(home.root.resolve() / "mlflow.db")
        self.name = name
        self._home, self._progress = home, progress
        self._session = MlflowSession(self.uri, home, progress)
        artefacts = Artefacts(self._session)
        self.aliases = Aliases(self._session, name, stages=stages)
        self.records = Records(self._session, artefacts)
        self.bundles = Bundles(self._session, artefacts, home)
        self.leases = Leases(self._session, name, home)
        self._registration = Registration(self._session, name, home, self.bundles, progress)

    @classmethod
    def of(cls, project: Project, home: Home, progress: Progress = _no_progress) -> Registry:
        """Return the registry that ``ml.yaml`` names; a relative SQLite file starts at the root."""
        section = project.config.registry
        uri = section.uri
        if uri and uri.startswith(SQLITE):
            path = uri.removeprefix(SQLITE)
            if not path.startswith("/"):
                uri = f"{sqlite.address(project.root)}/{path}"
        return cls(uri, project.model_name, home, progress=progress, stages=section.stages)

    def exists(self) -> bool:
        """Return whether the registry exists: a server, or a SQLite file with a database.

        Raises:
            EnvironmentFault: the SQLite file is lost; see ``sqlite.has_database``.
        """
        file = sqlite.file_of(self.uri)
        return file is None or sqlite.has_database(file, self._home)

    def ui_command(self) -> str | None:
        """Return the command that shows the runs in a browser.

        None where a server has pages, or where there is no database yet, which it would make.
        """
        file = sqlite.file_of(self.uri)
        if file is None or not file.is_file():
            return None
        return f"mlflow ui --backend-store-uri {shlex.quote(self.uri)}"

    def read(self) -> RegistryState:
        """Return the versions and aliases as they are now.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        return read_state(self._session, self.name)

    def register(
        self,
        bundle_path: Path,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> Registered:
        """Register a bundle as the challenger; a registered identity keeps its version.

        Args:
            bundle_path: The bundle's folder; it is verified first.
            tags: Lineage beside what the manifest tells, such as the git commit.
            metrics: What was measured of the model, for its run.

        Raises:
            Refused: the model is a quick one, the bundle is not whole, or the registry holds other
                content under this identity.
            EnvironmentFault: the registry does not answer, or another process holds it.
        """
        bundle = Bundle.open(bundle_path)
        lineage = lineage_tags(bundle) | dict(tags or {})
        if lineage["profile"] != "full":
            raise Refused(
                "a quick model is not registered",
                expected="one trained on all of the data",
                hint="run 'ml-pipeline train' without --quick, then package",
            )
        with self._lock():
            done = self._registration.register(bundle, lineage, metrics or {})
        self.aliases.set(CHALLENGER, done.version)
        return done

    def restore(self, bundle_path: Path, number: int) -> Version:
        """Register a bundle under a number that the registry has not come to yet.

        Raises:
            Refused: the bundle is not whole, or the registry's next number is a later one.
            EnvironmentFault: the registry does not answer, or another process holds it.
        """
        bundle = Bundle.open(bundle_path)
        with self._lock():
            return self._registration.restore(bundle, number)

    def record_number(self, number: int) -> None:
        """Reserve this number and all lower ones: no later version gets one of them.

        Raises:
            EnvironmentFault: the home's record of numbers cannot be read.
        """
        self._registration.record_number(number)

    @property
    def is_lost(self) -> bool:
        """Whether there is no database where the SQLite file of the registry should be."""
        file = sqlite.file_of(self.uri)
        return file is not None and not (file.exists() and file.stat().st_size > 0)

    def recreate(self) -> None:
        """Make the database of a registry whose SQLite file was lost; else do nothing.

        Every other command refuses to, since a new one begins with number 1: see ``restore``.
        """
        file = sqlite.file_of(self.uri)
        if file is None or not self.is_lost:
            return
        self._progress("making the registry's database", 0.0)
        with self._session.scope():
            sqlite.create_database(file, self._home, again=True)

    def _lock(self) -> AbstractContextManager[None]:
        """Hold the home against other processes that register."""
        self._home.make()
        busy = EnvironmentFault(
            "another process registers a model", hint="try again when it has ended"
        )
        return locks.locked(self._home / "registry.lock", timeout=LOCK_TIMEOUT, busy=busy)
