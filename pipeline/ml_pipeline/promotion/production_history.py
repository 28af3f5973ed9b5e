"""The history of production in the home, and ``production-model.yaml``."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ml_pipeline.approval.statement import Approval
from ml_pipeline.core import clock, documents, workdir
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import HISTORY, Home
from ml_pipeline.promotion.journal import FaultHook, Kind, no_faults
from ml_pipeline.registry.versions import CAUSE, Version

PRODUCTION_MODEL = "production-model.yaml"
ACCEPTED_PROFILE = "accepted/profile.json"
DATA_TAG = "identity.data"
"""Tag of a version: the fingerprint of the data that it was trained on."""


class Entry(BaseModel):
    """One change of production: a line of the history. ``by`` and ``reason`` are of the change.

    The digests are those of the version that serves since; so are gate, policy and approval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime
    model: str
    version: int
    bundle: str
    identity: str
    endpoint: str
    by: str
    reason: str
    method: str
    gate: str
    policy: str
    approval: str
    former_version: int | None
    former_bundle: str | None
    run_id: str
    kind: Kind = "promotion"
    cause: str = ""
    """Why the version was trained, where the caller of ``train`` stated it."""
    clock: dict[str, float] = {}
    """Its time by the monotonic clock: ``ml_pipeline.core.clock``."""


def entry(
    kind: Kind,
    version: Version,
    former: tuple[int | None, str | None],
    endpoint: str,
    approval: Approval,
    approval_digest: str,
    *,
    by: str | None = None,
    reason: str | None = None,
    run_id: str,
) -> Entry:
    """Return the line of a change; by whom and why are the approval's, unless they are given."""
    return Entry(
        at=datetime.now(UTC),
        model=version.name,
        version=version.number,
        bundle=version.digest,
        identity=version.identity,
        endpoint=endpoint,
        by=by or approval.by,
        reason=reason or approval.reason,
        method=approval.method,
        gate=approval.gate,
        policy=approval.policy,
        approval=approval_digest,
        former_version=former[0],
        former_bundle=former[1],
        run_id=run_id,
        kind=kind,
        cause=version.tags.get(CAUSE, ""),
        clock=clock.marks(),
    )


@dataclass
class Replacement:
    """A file's new content, written atomically, which can be undone."""

    path: Path
    content: bytes
    _before: bytes | None = field(default=None, init=False)
    _done: bool = field(default=False, init=False)

    def do(self) -> None:
        self._before = self.path.read_bytes() if self.path.exists() else None
        workdir.write_bytes(self.path, self.content)
        self._done = True

    def undo(self) -> None:
        if not self._done:
            return
        if self._before is None:
            self.path.unlink(missing_ok=True)
        else:
            workdir.write_bytes(self.path, self._before)
        self._done = False


def production_model(home: Home, entry: Entry, approval: Approval) -> Replacement:
    """Return ``production-model.yaml``: the model, its endpoint, its digests and its approval."""
    values: dict[str, Any] = {
        "model_name": entry.model,
        "model_version": entry.version,
        "serving_endpoint": entry.endpoint,
        "identity": entry.identity,
        "digests": {
            "bundle": entry.bundle,
            "gate": entry.gate,
            "policy": entry.policy,
            "approval": entry.approval,
        },
        "approved": {"by": approval.by, "reason": approval.reason, "method": approval.method},
        "promoted_at": entry.at.isoformat(timespec="seconds"),
        "former": None
        if entry.former_version is None
        else {"model_version": entry.former_version, "bundle": entry.former_bundle},
    }
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return Replacement(home / PRODUCTION_MODEL, text.encode())


def bundle_in_production(home: Home) -> str | None:
    """Return the digest in ``production-model.yaml``; None if it has none."""
    try:
        values = documents.read_yaml(home / PRODUCTION_MODEL)
        return str(values["digests"]["bundle"])
    except (OSError, DocumentError, KeyError, TypeError):
        return None


def history(home: Home, entry: Entry) -> Replacement:
    """Return ``history.jsonl`` with one more line."""
    path = home / HISTORY
    before = path.read_bytes() if path.exists() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    return Replacement(path, before + entry.model_dump_json().encode() + b"\n")


def accepted_profile(home: Home, profile: Path) -> Replacement:
    """Return the profile of the data that is accepted by this promotion."""
    return Replacement(home / ACCEPTED_PROFILE, profile.read_bytes())


def write_change(
    home: Home,
    change: Entry,
    approval: Approval,
    profile: Path | None,
    undo: ExitStack,
    fault_point: FaultHook = no_faults,
) -> None:
    """Write the files about production; ``undo`` gets a callback for each.

    What a killed change has written already is not written twice: a line of the history is
    identified by its run and its bundle.
    """
    steps = [production_model(home, change, approval)]
    if profile is not None:
        steps.append(accepted_profile(home, profile))
    recorded_changes = read_history(home)
    if not recorded_changes or (recorded_changes[-1].bundle, recorded_changes[-1].run_id) != (
        change.bundle,
        change.run_id,
    ):
        steps.append(history(home, change))
    for step in steps:
        undo.callback(step.undo)
        step.do()
        fault_point(f"within file, {step.path.name} written")


def follow(home: Home, endpoint: str, approval: Approval) -> bool:
    """Write ``production-model.yaml`` anew, if it is not what the history and ``endpoint`` say.

    A server without a port of its own has another one each time that it starts.

    Returns:
        Whether it was written.
    """
    history = read_history(home)
    if not history or history[-1].bundle != approval.bundle:
        return False
    moved = history[-1].model_copy(update={"endpoint": endpoint})
    replacement = production_model(home, moved, approval)
    if replacement.path.exists() and replacement.path.read_bytes() == replacement.content:
        return False
    replacement.do()
    return True


def read_history(home: Home) -> list[Entry]:
    """Return every promotion, oldest first.

    Raises:
        EnvironmentFault: a line is not one that a promotion wrote.
    """
    path = home / HISTORY
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EnvironmentFault(
            f"cannot read {path}: {error.strerror}",
            expected="a file with a line of JSON for each change of production",
            hint="restore it from a backup",
        ) from None
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(Entry.model_validate(documents.parse_json(line, "it")))
        except (ValidationError, DocumentError) as error:
            raise EnvironmentFault(
                f"{path}:{number} is broken: {documents.reason(error)}",
                hint="fix or remove the line",
            ) from None
    return entries


def profile_of(version: Version, path: Path | None) -> Path | None:
    """Return ``path`` if it is the profile of the data of this version, else None."""
    if path is None:
        return None
    try:
        found = documents.read_json(path)
    except (OSError, DocumentError):
        return None
    fingerprint = version.tags.get(DATA_TAG)
    same = isinstance(found, dict) and found.get("fingerprint") == fingerprint
    return path if same and fingerprint is not None else None
