"""The bundles of registered versions, which MLflow keeps within their model folders."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from ml_pipeline.bundle.reader import MANIFEST, Bundle, parse_manifest
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import EnvironmentFault, Refused
from ml_pipeline.core.home import Home
from ml_pipeline.registry import mlflow_model
from ml_pipeline.registry.artefacts import Artefacts
from ml_pipeline.registry.mlflow_session import MlflowSession, mask_password
from ml_pipeline.registry.versions import Version

FOLDER = f"{mlflow_model.FOLDER}/{mlflow_model.BUNDLE}"
"""Where a bundle lies among the artefacts of its run."""
HINT = "deploy another version, or register the model again"
"""What to do about a bundle that does not verify."""


class Bundles:
    """The bundles of a model's versions, verified by the digest that each version's tag names."""

    def __init__(self, session: MlflowSession, artefacts: Artefacts, home: Home) -> None:
        self._session, self._artefacts, self._home = session, artefacts, home

    def manifest(self, version: Version) -> dict[str, Any]:
        """Return the manifest of the version's bundle, without its other files.

        The released copy in the home is read where it is whole, since the digest proves it.

        Raises:
            Refused: the registry's manifest is not the one that was registered.
            EnvironmentFault: the registry does not answer, or does not have it any more.
        """
        released = self._home / "released" / version.digest / MANIFEST
        if released.is_file() and workdir.digest(released) == version.digest:
            return parse_manifest(released.read_bytes(), released)
        with self._session.scope(), tempfile.TemporaryDirectory() as scratch:
            path = f"{FOLDER}/{MANIFEST}"
            fetched = self._artefacts.fetch(version, path, f"the {MANIFEST}", scratch)
            content = fetched.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != version.digest:
            raise _another_bundle(version, found)
        return parse_manifest(content, Path(MANIFEST))

    def download(self, version: Version, dest: Path) -> Path:
        """Fetch the version's bundle into the folder ``dest`` and verify it.

        Raises:
            Refused: a file differs from the manifest, or the manifest from the version's tag.
            EnvironmentFault: the registry does not answer, or does not have the files any more.
        """
        with workdir.atomic_folder(dest) as folder:
            with (
                self._session.scope(),
                tempfile.TemporaryDirectory(dir=dest.parent) as scratch,
            ):
                fetched = self._artefacts.fetch(version, FOLDER, "the bundle", scratch)
                for item in sorted(fetched.iterdir()):
                    item.rename(folder / item.name)
            found = _open(folder, version).digest
            if found != version.digest:
                raise _another_bundle(version, found)
        return dest

    def upload(self, run_id: str, bundle: Bundle) -> None:
        """Upload the model folder to a run, and check that the bundle has arrived.

        An answer of the artefact store alone is no proof.

        Raises:
            EnvironmentFault: the registry does not answer, or did not keep a file.
        """
        with self._session.scope(), tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            mlflow_model.write(bundle, folder)
            self._session.client.log_artifacts(run_id, str(folder), mlflow_model.FOLDER)
            if missing := self._missing(run_id, bundle):
                raise EnvironmentFault(
                    f"registry {mask_password(self._session.uri)} has not kept {missing[0]}",
                    expected="every file of the bundle",
                    hint="look at its artefact store, then try again",
                )

    def is_whole(self, version: Version, bundle: Bundle) -> bool:
        """Return whether the registry keeps every file of a registered bundle as it was."""
        with self._session.scope():
            if self._missing(version.run_id, bundle):
                return False
        return self.verifies(version)

    def verifies(self, version: Version) -> bool:
        """Return whether the registry's copy of the bundle verifies."""
        with tempfile.TemporaryDirectory() as scratch:
            try:
                self.download(version, Path(scratch) / "bundle")
            except Refused:
                return False
        return True

    def _missing(self, run_id: str, bundle: Bundle) -> list[str]:
        """Return the names of the bundle's files that the run does not have in their size."""
        sizes = self._artefacts.sizes(run_id, FOLDER)
        return sorted(
            file.name
            for file in bundle.path.iterdir()
            if sizes.get(file.name) != file.stat().st_size
        )


def _another_bundle(version: Version, found: str) -> Refused:
    return Refused(
        f"the bundle of version {version.number} is not the one that was registered: "
        f"the SHA-256 of its {MANIFEST} is {found}",
        expected=version.digest,
        hint=HINT,
    )


def _open(folder: Path, version: Version) -> Bundle:
    """Open what was fetched; errors name the registry's copy in place of the folder."""
    try:
        return Bundle.open(folder)
    except Refused as error:
        fault = error.fault.replace(f"{folder}/", "").replace(str(folder), "the bundle")
        raise Refused(
            f"the registry's copy of version {version.number} is damaged: {fault}",
            expected=error.expected,
            hint=HINT,
        ) from None
