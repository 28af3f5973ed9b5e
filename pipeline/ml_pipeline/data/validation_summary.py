"""The summary of validated data: rows, time span and the first notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.report import Check, blocking
from ml_pipeline.data.observations import notes_of
from ml_pipeline.data.rules import LINES
from ml_pipeline.data.validation import REMEDY, Validation

if TYPE_CHECKING:
    import pandas as pd

COPIES = "rows_distinct"


def span_of(clean: pd.DataFrame, entity: str | None, time: str | None) -> dict[str, Any]:
    """Return the number of entities, and the first and last day."""
    span: dict[str, Any] = {}
    if entity is not None and entity in clean.columns:
        span["entities"] = int(clean[entity].nunique())
    if time is not None and len(clean):
        span |= {"first": str(clean[time].min())[:10], "last": str(clean[time].max())[:10]}
    return span


def summarize(rows: int, validation: Validation, checks: Sequence[Check]) -> str:
    """Return one line: the first failed check, or the counts of rows and blanked cells."""
    if failed := blocking(checks):
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        detail = failed[0].why or f"observed {failed[0].shown}, expected {failed[0].expected}"
        return f"{failed[0].name}: {detail}{more}"
    blanked = ", ".join(f"{count:,} {name}" for name, count in sorted(validation.blanked.items()))
    return (
        f"{rows:,} rows: {len(validation.clean):,} clean, "
        f"{len(validation.quarantine):,} quarantined, "
        f"blanked cells: {blanked or 'none'}{_notes(validation, checks)}"
    )


def _notes(validation: Validation, checks: Sequence[Check]) -> str:
    """Return the first three notes on data that passed."""
    noted = [
        f"{check.name}: {check.why}"
        for check in validation.checks
        if check.why and (check.name in (LINES, COPIES) or f"; {REMEDY} '" in check.why)
    ]
    notes = [*noted, *notes_of(checks)]
    left = len(notes) - 3
    more = f"; and {left} more note{'s' * (left > 1)}" if left > 0 else ""
    return "".join(f"; {note}" for note in notes[:3]) + more
