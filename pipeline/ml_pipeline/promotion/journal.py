"""The journal of a change of production: its subject and steps, written ahead of each step.

One file a change in ``home/journal``, always whole. A change that was killed leaves its file open;
whoever changes production next recovers it first.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_pipeline.core import documents, workdir
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home

FOLDER = "journal"
NAME_FORMAT = "%Y%m%dT%H%M%S%f"
MICROSECOND = timedelta(microseconds=1)

Kind = Literal["promotion", "rollback", "reconcile"]
State = Literal["open", "done", "taken back"]
FaultHook = Callable[[str], None]
"""Called at each point of a sequence; a test ends the process there."""


class Record(BaseModel):
    """A change of production. ``steps`` says of each step whether it was begun or made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["ml-pipeline/journal/1"] = Field("ml-pipeline/journal/1", alias="schema")
    kind: Kind
    at: datetime
    model: str
    version: int
    bundle: str
    approval: str = Field("", description="SHA-256 of the approval by which the version serves.")
    former_version: int | None
    former_bundle: str | None
    by: str
    reason: str
    run_id: str
    token: str = Field(description="Of the lease; written before the lease is acquired.")
    number: int | None = Field(None, description="Of the lease.")
    steps: dict[str, Literal["begun", "made"]] = Field(default_factory=dict)
    state: State = "open"
    open: tuple[str, ...] = Field((), description="What a finished change could not do yet.")

    def __str__(self) -> str:
        step = list(self.steps)[-1] if self.steps else "its start"
        return f"{self.kind} of version {self.version} by {self.by}, as far as '{step}'"


@dataclass
class Journal:
    """The file of one change; every change of the record is written at once."""

    path: Path
    record: Record

    @classmethod
    def start(cls, home: Home, kind: Kind, **about: Any) -> Journal:
        """Write the journal of a change that is about to begin."""
        now, token = datetime.now(UTC), secrets.token_hex(16)
        record = Record(kind=kind, at=now, token=token, **about)
        journal = cls(home / FOLDER / f"{_next_name(home, now)}-{token[:8]}.json", record)
        journal.update()
        return journal

    def update(self, **changes: Any) -> None:
        self.record = self.record.model_copy(update=changes)
        workdir.write_text(self.path, self.record.model_dump_json(by_alias=True, indent=2) + "\n")

    def close(self, state: State) -> None:
        self.update(state=state)


def _next_name(home: Home, now: datetime) -> str:
    """Return a name that sorts after those of all journals, whatever the clock shows."""
    last = max((path.name for path in (home / FOLDER).glob("[0-9]*.json")), default="")
    name = now.strftime(NAME_FORMAT)
    if name > last:
        return name
    newest = datetime.strptime(last[: len(name)], NAME_FORMAT).replace(tzinfo=UTC)
    return (newest + MICROSECOND).strftime(NAME_FORMAT)


def open_journals(home: Home) -> list[Journal]:
    """Return the journals that are open, oldest first; raises EnvironmentFault as ``journals``."""
    return [one for one in journals(home) if one.record.state == "open"]


def journals(home: Home) -> list[Journal]:
    """Return every journal, oldest first.

    Raises:
        EnvironmentFault: a file is not one that this module wrote.
    """
    found = []
    for path in sorted((home / FOLDER).glob("[0-9]*.json")):
        try:
            record = Record.model_validate(documents.read_json(path, "it"))
        except (ValidationError, DocumentError) as error:
            raise EnvironmentFault(
                f"{path} is broken: {documents.reason(error)}",
                hint="see what production serves and what the registry's champion is, "
                "then move the file away",
            ) from None
        found.append(Journal(path, record))
    return found


@dataclass(frozen=True)
class Step:
    """One step of a sequence."""

    name: str
    do: Callable[[], None]


def perform(steps: Sequence[Step], journal: Journal, fault_point: FaultHook) -> None:
    """Run the steps in order; the journal records the start and the end of each.

    Raises:
        Exception: what a step raised; the later ones were not begun.
    """
    for step in steps:
        fault_point(f"before {step.name}")
        journal.update(steps=journal.record.steps | {step.name: "begun"})
        step.do()
        fault_point(f"within {step.name}, done and not written down")
        journal.update(steps=journal.record.steps | {step.name: "made"})
    fault_point(f"after {steps[-1].name}")


def no_faults(_point: str) -> None:
    """Go on."""
