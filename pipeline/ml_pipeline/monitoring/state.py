"""What monitoring knows of an environment: ``HOME/monitor/ENVIRONMENT``.

``state.json`` is replaced by each look, last and atomically, and names the other file of the look.
So a look that was killed has counted nothing, and one that ended is not repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_pipeline.core import documents, locks, workdir
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home
from ml_pipeline.monitoring.alarms import Alarm, AlarmEvent
from ml_pipeline.monitoring.conclusions import Conclusion
from ml_pipeline.monitoring.served_rows import Cursor

FOLDER = "monitor"
STATE = "state.json"
EVENTS = "alarms.jsonl"
SCHEMA: Literal["ml-pipeline/monitor/1"] = "ml-pipeline/monitor/1"


class MonitorState(BaseModel):
    """The result of the last look, and where the next one begins."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["ml-pipeline/monitor/1"] = Field(default=SCHEMA, alias="schema")
    look: int
    """Number of looks so far."""
    further_looks: int = 0
    """Number of looks on the day of the last one, before it."""
    run_id: str
    at: datetime
    cursor: Cursor
    version: int | None
    digest: str
    """Of the bundle that the summaries are about."""
    summaries: str
    """Name of the file with the summaries of each day."""
    first_days: dict[str, int] = Field(default_factory=dict)
    """From which day on a feature is judged, where an alarm about it has ended."""
    alarms: dict[str, Alarm] = Field(default_factory=dict)
    events: list[AlarmEvent] = Field(default_factory=list)
    """Of the run ``run_id``."""
    conclusion: Conclusion
    reason: str
    cause: str = ""
    since: datetime
    """When the conclusion became what it is."""
    drift_since: str = ""
    """The first day of the window that shows the earliest drift, as YYYY-MM-DD."""
    rows: int = 0
    """Rows of this version."""
    last_request: float | None = None
    """Time of the newest row, in seconds since the epoch."""
    statuses: dict[str, dict[int, float]] = Field(default_factory=dict)
    """Requests by status that each server, named by its start time, had counted."""
    reads: dict[str, Any] = Field(default_factory=dict)
    """What joining labels needs for the next look."""


@dataclass(frozen=True)
class MonitorFolder:
    """The folder of an environment, which one look at a time works in."""

    root: Path

    @classmethod
    def of(cls, home: Home, environment: str) -> MonitorFolder:
        return cls(home / FOLDER / environment)

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other looks.

        Raises:
            EnvironmentFault: another look is under way.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        busy = EnvironmentFault(
            f"another 'ml-pipeline monitor' works in {self.root}",
            hint="run it again when that one has ended",
        )
        with locks.locked(self.root / ".lock", timeout=0, busy=busy):
            yield

    def read(self) -> MonitorState | None:
        """Return the state after the last look; None before the first one.

        Raises:
            EnvironmentFault: it is broken.
        """
        path = self.root / STATE
        try:
            return MonitorState.model_validate(documents.read_json(path, "it"))
        except FileNotFoundError:
            return None
        except (ValidationError, DocumentError) as error:
            raise EnvironmentFault(
                f"{path} is broken: {documents.reason(error)}",
                expected="the state of the last look",
                hint=f"restore it from a backup, or remove {self.root} to begin anew with the "
                "requests that are still in the prediction log",
            ) from None

    def commit(self, state: MonitorState) -> None:
        """Replace the state by that of a look whose other files are written."""
        workdir.write_text(self.root / STATE, state.model_dump_json(by_alias=True, indent=2) + "\n")
        for old in self.root.glob("summaries-*.npz"):
            if old.name != state.summaries:
                old.unlink(missing_ok=True)
        self.append_events(state)

    def append_events(self, state: MonitorState) -> None:
        """Append the events of a look to ``alarms.jsonl``, unless they are there already."""
        path = self.root / EVENTS
        written = path.read_text() if path.exists() else ""
        if written and not written.endswith("\n"):
            written = written[: written.rfind("\n") + 1]
        lines = [
            event.model_dump_json() + "\n"
            for event in state.events
            if f'"id":"{event.id}"' not in written
        ]
        if lines:
            workdir.write_text(path, written + "".join(lines))


@dataclass(frozen=True)
class LastConclusion:
    """What the last look at an environment concluded."""

    at: datetime
    version: int | None
    conclusion: Conclusion
    reason: str
    cause: str
    since: datetime
    drift_since: str


def last_conclusion(home: Home, environment: str) -> LastConclusion | None:
    """Return what the last look concluded; None if there was none.

    Raises:
        EnvironmentFault: the state is broken.
    """
    state = MonitorFolder.of(home, environment).read()
    if state is None:
        return None
    return LastConclusion(
        state.at,
        state.version,
        state.conclusion,
        state.reason,
        state.cause,
        state.since,
        state.drift_since,
    )
