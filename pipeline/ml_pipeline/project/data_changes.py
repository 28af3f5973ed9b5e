"""The data as they are now, beside those that a version was trained on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import Project
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import blocking
from ml_pipeline.data.accepted_profile import ACCEPTED
from ml_pipeline.data.validated_source import validate_source
from ml_pipeline.problems.loader import load_problem

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.core.report import Progress


@dataclass(frozen=True)
class FormerData:
    """What is known of the data of a version."""

    fingerprint: str
    rows: int | None
    """Clean rows."""
    last: str | None
    """Their last day; of a version without the tag, the last day with a label."""

    @classmethod
    def of(
        cls, tags: Mapping[str, str], parts: Mapping[str, str], training: Mapping[str, Any]
    ) -> FormerData:
        """Read it from the version's tags and identity parts, and else from its training record."""
        rows = tags.get("data.rows", "")
        counted = training.get("rows") or {}
        return cls(
            fingerprint=parts["data"],
            rows=int(rows) if rows.isdecimal() else sum(counted.values()) or None,
            last=tags.get("data.last") or (training.get("cutoffs") or {}).get("holdout_end"),
        )


@dataclass(frozen=True)
class DataChange:
    """The present data, and how they differ from a version's."""

    changed: bool
    detail: str
    """How they differ, and what was read for this."""
    why: str
    """How they differ, in a few words."""
    seconds: float
    fingerprint: str = ""


def data_change(project: Project, home: Home, former: FormerData, progress: Progress) -> DataChange:
    """Read the source as ``validate-data`` does, and compare its clean rows with former ones.

    Whether anything changed is decided by the fingerprint of all clean rows, so all of the source
    is read; nothing is trained and nothing written. Data that are refused, or do not pass their
    tests, count as changed: the delivery shows why.

    Raises:
        UsageError: the source cannot be read, or lacks a column.
        EnvironmentFault: a database, or the profile of the last accepted data, is unavailable.
    """
    start = time.monotonic()
    problem = load_problem(project.config.problem, project.root)
    source = project.config.data.source
    try:
        found = validate_source(
            source,
            None,
            project=project,
            problem=problem,
            accepted=home / ACCEPTED,
            is_sample=False,
            progress=progress,
        )
    except Refused as error:
        why = f"the data are refused, as validate-data will show: {error.fault}"
        return DataChange(True, why, why, round(time.monotonic() - start, 1))
    seconds = round(time.monotonic() - start, 1)
    clean = found.validation.clean
    read = f"read {found.rows:,} rows ({source.kind}) in {seconds:.1f} s"
    fingerprint = str(found.profile["fingerprint"])
    changed = True
    if failed := blocking(found.checks):
        why = f"the data do not pass their test '{failed[0].name}', which validate-data will show"
    elif fingerprint == former.fingerprint:
        why = f"the same {len(clean):,} rows{_until(clean, problem.time_column)}"
        changed = False
    else:
        why = _difference(clean, problem.time_column, former)
    return DataChange(changed, f"{why}; {read}", why, seconds, fingerprint)


def _until(clean: pd.DataFrame, time_column: str | None) -> str:
    return "" if time_column is None else f" to {str(clean[time_column].max())[:10]}"


def _difference(clean: pd.DataFrame, time_column: str | None, former: FormerData) -> str:
    """Return how the rows differ: those of new days, and how many there are besides."""
    rows = f"{len(clean):,} rows"
    new = 0
    if time_column is not None and former.last is not None:
        days = clean[time_column].astype("str").str[:10]
        later = days[days > former.last]
        new = len(later)
        if new:
            count = later.nunique()
            noun = "day" if count == 1 else "days"
            rows = f"{count:,} {noun} more, to {later.max()}, with {new:,} rows"
    if former.rows is None:
        return rows
    other = len(clean) - new - former.rows
    if other == 0:
        return rows if new else f"other values in the {rows}"
    word = "more" if other > 0 else "fewer"
    if new:
        return f"{rows}, and {abs(other):,} {word} before"
    return f"{rows}, {abs(other):,} {word}"
