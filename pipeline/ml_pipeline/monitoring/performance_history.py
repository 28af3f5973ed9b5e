"""How versions performed in production: ``performance.jsonl``, a line per version and look.

A line counts once ``state.json`` names its look or a later one, so that a look that was killed and
repeated has one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_pipeline.core import documents, workdir
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.gate.expected_performance import NOT_RECORDED

FILE = "performance.jsonl"
SCHEMA: Literal["ml-pipeline/performance/1"] = "ml-pipeline/performance/1"
MAX_LINES = 20_000
"""The oldest lines are removed beyond."""

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
    held: bool | None = None
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
            "as expected": {True: "yes", False: "no, worse", None: None}[self.held],
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


def write_performance(folder: Path, look: int, lines: Sequence[PerformanceLine]) -> None:
    """Add the lines of the look after ``look``, in place of those that a killed look left."""
    kept = [*read_performance(folder, look), *lines][-MAX_LINES:]
    content = "".join(line.model_dump_json(by_alias=True) + "\n" for line in kept)
    workdir.write_text(folder / FILE, content)


def worse_than_expected(lines: Sequence[PerformanceLine]) -> str:
    """Return how many promoted versions performed worse than expected, as one sentence.

    The newest line that knows counts for each version. Empty where none is known to be worse.
    """
    newest = {line.digest: line for line in lines if line.served and line.held is not None}
    worse = [line for line in newest.values() if not line.held]
    if not worse:
        return ""
    named = "; ".join(
        f"version {line.version}: {line.metric.replace('_', ' ')} {shown(line.realised)}, "
        f"expected {shown(line.expected)}"
        for line in worse[-3:]
    )
    return (
        f"{len(worse)} of {len(newest)} promoted versions whose labels came performed worse in "
        f"production than the gate expected ({named})"
    )


def _broken(path: Path, why: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{path} cannot be read: {why}",
        expected="a line of JSON per version and look",
        hint="restore it from a backup, or remove it: the history of performance is lost then",
    )
