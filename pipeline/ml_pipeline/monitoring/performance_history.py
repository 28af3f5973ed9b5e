"""How versions performed in production: ``performance.jsonl``, a line per version and look.

A line counts once ``state.json`` names its look or a later one, so that a look that was killed and
repeated has one line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_pipeline.core import documents, workdir
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.gate.expected_performance import NOT_RECORDED
from ml_pipeline.monitoring.state import MonitorFolder
from ml_pipeline.promotion.environment import PRODUCTION

FILE = "performance.jsonl"
SCHEMA: Literal["ml-pipeline/performance/1"] = "ml-pipeline/performance/1"
MAX_LINES = 20_000
"""The oldest lines are removed beyond."""

EARLIER_PROMOTIONS = "expected performance of earlier promotions"
"""Name of the gate's check."""

Figures = dict[str, Any]
"""A performance as JSON: ``value``, ``low``, ``high`` and what it rests on."""


class PerformanceLine(BaseModel):
    """What one look found of one version."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["ml-pipeline/performance/1"] = Field(default=SCHEMA, alias="schema")
    look: int
    at: datetime
    version: int | None
    digest: str
    metric: str
    served: bool
    """Whether it served the rows; else it was scored on the rows of ``compared_with``."""
    compared_with: int | None = None
    expected: Figures | None = None
    estimated: Figures | None = None
    """Of the rows that came since the last look."""
    estimated_of_labelled: Figures | None = None
    """Of the rows of ``realised``, to compare the estimate with what came."""
    realised: Figures | None = None
    of_served: Figures | None = None
    """Of the version that served, on the same rows."""
    difference: Figures | None = None
    """The paired difference per day; above 0 where this version is better."""
    as_expected: bool | None = None
    """Whether it was not worse than expected; None where that is not known."""
    why: str = ""

    def row(self) -> dict[str, Any]:
        """Return the line as a row of a table."""
        return {
            "version": self.version,
            "until": (self.realised or {}).get("until") or self.at.date().isoformat(),
            "metric": self.metric,
            "expected": (shown(self.expected) if self.expected else NOT_RECORDED)
            if self.served
            else None,
            "estimated": shown(self.estimated),
            "realised": shown(self.realised),
            "rows": (self.realised or self.estimated or {}).get("rows"),
            "as expected": {True: "yes", False: "no, worse", None: None}[self.as_expected],
            "note": self.why
            if self.served
            else f"scored on the rows of version {self.compared_with}",
        }


def shown(figures: Figures | None) -> str | None:
    """Return ``0.6512 [0.6401, 0.6623]``; None where there is no value."""
    if figures is None or figures.get("value") is None:
        return None
    low, high = figures.get("low"), figures.get("high")
    interval = "" if low is None or high is None else f" [{low:.4f}, {high:.4f}]"
    return f"{figures['value']:.4f}{interval}"


def read_performance(folder: Path, look: int) -> list[PerformanceLine]:
    """Return the lines up to a look, oldest first.

    Raises:
        EnvironmentFault: the file cannot be read.
    """
    path = folder / FILE
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _broken(path, error.strerror or "") from None
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(PerformanceLine.model_validate(documents.parse_json(line, "it")))
        except (ValidationError, DocumentError) as error:
            raise _broken(path, f"line {number}: {documents.reason(error)}") from None
    return [line for line in found if line.look <= look]


def read_production(home: Home) -> list[PerformanceLine]:
    """Return the lines of production that count, oldest first; none where nothing was monitored.

    Raises:
        EnvironmentFault: the state of monitoring or the file cannot be read.
    """
    folder = MonitorFolder.of(home, PRODUCTION)
    state = folder.read()
    return [] if state is None else read_performance(folder.root, state.look)


def with_performance(
    changes: Sequence[Mapping[str, Any]], lines: Sequence[PerformanceLine]
) -> list[dict[str, Any]]:
    """Return changes of production, the newest of each bundle with the lines about it.

    Args:
        changes: rows of ``ml_pipeline.promotion.status.history``, oldest first.
        lines: about all versions, oldest first.
    """
    rows = [{**change, "performance": []} for change in changes]
    newest = {row["bundle"]: row for row in rows}
    for line in lines:
        row = newest.get(line.digest[:12])
        if row is not None:
            row["performance"].append(line.model_dump(mode="json", by_alias=True))
    return rows


def write_performance(folder: Path, look: int, lines: Sequence[PerformanceLine]) -> None:
    """Add the lines of the look after ``look``, in place of those that a killed look left."""
    kept = [*read_performance(folder, look), *lines][-MAX_LINES:]
    content = "".join(line.model_dump_json(by_alias=True) + "\n" for line in kept)
    workdir.write_text(folder / FILE, content)


def earlier_promotions(lines: Sequence[PerformanceLine]) -> Check | None:
    """Return an advisory check of the gate: how many versions performed worse than expected.

    The newest line that knows counts for each version. None where no labels have come yet.
    """
    newest = {line.digest: line for line in lines if line.served and line.as_expected is not None}
    if not newest:
        return None
    worse = [line for line in newest.values() if not line.as_expected]
    found = f"all {len(newest)} promoted versions whose labels came performed as expected"
    if worse:
        named = "; ".join(
            f"version {line.version}: {line.metric.replace('_', ' ')} {shown(line.realised)}, "
            f"expected {shown(line.expected)}"
            for line in worse[-3:]
        )
        found = (
            f"{len(worse)} of {len(newest)} promoted versions performed worse in production than "
            f"the gate expected ({named})"
        )
    return Check(
        name=EARLIER_PROMOTIONS,
        verdict=Verdict.FAIL if worse else Verdict.PASS,
        required=False,
        observed=found,
        why=found if worse else "",
    )


def _broken(path: Path, why: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{path} cannot be read: {why}",
        expected="a line of JSON per version and look",
        hint="restore it from a backup, or remove it: the history of performance is lost then",
    )
