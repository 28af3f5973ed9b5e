"""Files that a run of MLflow keeps: fetched with a message that says what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.registry.mlflow_session import MlflowSession, mask_password
from ml_pipeline.registry.versions import Version

FULL_DISK_BYTES = 1 << 20
"""A disk with fewer bytes free counts as full."""


class Artefacts:
    """The artefacts of runs. Methods are called within the session's scope."""

    def __init__(self, session: MlflowSession) -> None:
        self._session = session
        self._roots: dict[str, str] = {}

    def fetch(self, version: Version, path: str, what: str, scratch: str) -> Path:
        """Download an artefact, a file or a folder, into ``scratch`` and return where it is.

        Args:
            version: Whose run keeps it.
            path: Below the run's artefacts.
            what: The artefact as messages name it.
            scratch: A folder.

        Raises:
            EnvironmentFault: the registry answers that it does not have it, or the disk is full.
        """
        from mlflow import artifacts
        from mlflow.exceptions import MlflowException

        uri = self._uri(version.run_id, path)
        try:
            found = artifacts.download_artifacts(
                artifact_uri=uri, dst_path=scratch, tracking_uri=self._session.uri
            )
            return Path(found)
        except (MlflowException, OSError) as error:
            if self._has(version.run_id, path):
                _check_disk(scratch, f"{what} of version {version.number}", error)
                raise
            raise EnvironmentFault(
                f"registry {mask_password(self._session.uri)} answers, but does not have {what} of "
                f"version {version.number} any more",
                expected=f"it at {mask_password(uri)}",
                hint="restore its artefacts from a backup, or register the model again",
            ) from error

    def sizes(self, run_id: str, path: str) -> dict[str, int | None]:
        """Return the size of each file in a folder of a run, by name."""
        return {item.path.rpartition("/")[2]: item.file_size for item in self._list(run_id, path)}

    def _has(self, run_id: str, path: str) -> bool:
        """Return whether a run has this file, or anything in this folder."""
        folder, _, name = path.rpartition("/")
        if any(
            item.path.rpartition("/")[2] == name and not item.is_dir
            for item in self._list(run_id, folder)
        ):
            return True
        return bool(self._list(run_id, path))

    def _list(self, run_id: str, path: str) -> list[Any]:
        from mlflow import artifacts

        found: list[Any] = artifacts.list_artifacts(
            artifact_uri=self._uri(run_id, path), tracking_uri=self._session.uri
        )
        return found

    def _uri(self, run_id: str, path: str) -> str:
        from mlflow.utils.uri import append_to_uri_path

        if run_id not in self._roots:
            self._roots[run_id] = self._session.client.get_run(run_id).info.artifact_uri
        uri: str = append_to_uri_path(self._roots[run_id], path)
        return uri


def _check_disk(folder: str, what: str, error: Exception) -> None:
    """Raise where a full disk is why a download failed; MLflow does not say so.

    Raises:
        EnvironmentFault: it is full.
    """
    free = shutil.disk_usage(folder).free
    if free < FULL_DISK_BYTES:
        raise EnvironmentFault(
            f"the disk of {Path(folder).parent} is full: {free:,} bytes are free",
            expected=f"room for {what}",
            hint="make room on it, then try again",
        ) from error
