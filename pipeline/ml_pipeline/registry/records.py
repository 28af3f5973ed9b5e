"""Records of decisions about a version, such as the gate's and the approval, kept with its run.

A record's content lies under its own SHA-256 and a tag of the version names the newest: a reader
sees the old record or the new one, never a half.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from ml_pipeline.bundle.reader import SHA256
from ml_pipeline.core.artefacts import APPROVAL
from ml_pipeline.core.errors import Refused
from ml_pipeline.registry.artefacts import Artefacts
from ml_pipeline.registry.mlflow_session import MlflowSession
from ml_pipeline.registry.versions import Version

GATE_RECORD = "gate.json"
APPROVAL_RECORD = APPROVAL

RECORD = "record."
"""Tag prefix: the SHA-256 of the newest record of that name."""
FOLDER = "records"


class Records:
    """The records of a model's versions. One that was read and verified is not fetched again."""

    def __init__(self, session: MlflowSession, artefacts: Artefacts) -> None:
        self._session, self._artefacts = session, artefacts
        self._contents: dict[tuple[str, str, str], bytes] = {}

    def attach(self, version: Version, name: str, content: bytes) -> str:
        """Store a record with the version. Earlier ones of the same name stay as history.

        Args:
            version: The version that the record is about.
            name: A file name, for example ``gate.json``.
            content: The record.

        Returns:
            The SHA-256 of the content.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        sha = hashlib.sha256(content).hexdigest()
        with self._session.scope(), tempfile.TemporaryDirectory() as scratch:
            client = self._session.client
            path = Path(scratch) / f"{sha}{Path(name).suffix}"
            path.write_bytes(content)
            client.log_artifact(version.run_id, str(path), f"{FOLDER}/{name}")
            client.set_model_version_tag(version.name, str(version.number), RECORD + name, sha)
        return sha

    def read(self, version: Version, name: str) -> bytes | None:
        """Return the record of this name that was the newest when ``version`` was read.

        Returns:
            None where the version has none.

        Raises:
            Refused: its content is not what its tag says.
            EnvironmentFault: the registry does not answer, or does not have its file any more.
        """
        sha = version.tags.get(RECORD + name)
        if sha is None:
            return None
        if not SHA256.fullmatch(sha):
            raise Refused(
                f"record {name} of version {version.number} is named by no SHA-256",
                expected=f"64 hexadecimal digits in the version's tag {RECORD + name}",
            )
        key = (version.run_id, name, sha)
        if key in self._contents:
            return self._contents[key]
        with self._session.scope(), tempfile.TemporaryDirectory() as scratch:
            path = f"{FOLDER}/{name}/{sha}{Path(name).suffix}"
            fetched = self._artefacts.fetch(version, path, f"record {name}", scratch)
            content = fetched.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != sha:
            raise Refused(
                f"record {name} of version {version.number} was changed after it was written",
                expected=f"sha256 {sha}, found {found}",
            )
        self._contents[key] = content
        return content
