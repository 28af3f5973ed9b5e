"""Reads what an environment's servers logged since the last look, in batches of bounded size."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ml_pipeline.core.report import Progress
from ml_pipeline.monitoring.performance_tracker import PerformanceTracker
from ml_pipeline.monitoring.served_rows import Cursor, Gap, ServedRows, Unreadable, read_since
from ml_pipeline.monitoring.summaries import LiveSummaries

MAX_NAMED = 5
"""Unreadable lines and gaps that are named one by one."""


@dataclass
class LogReading:
    """What a look read from the prediction log."""

    cursor: Cursor
    exists: bool = True
    rows: int = 0
    """Of the version that is looked at."""
    requests: int = 0
    probes: int = 0
    other_rows: Counter[int | None] = field(default_factory=Counter)
    """Rows of other versions."""
    newest: float | None = None
    """Time of the newest row, in seconds since the epoch."""
    unreadable: list[Unreadable] = field(default_factory=list)
    unreadable_count: int = 0
    gaps: list[Gap] = field(default_factory=list)
    not_logged: frozenset[str] = frozenset()
    """Features that are hashed in the log, or left out of it."""


def read_log(
    folder: Path,
    cursor: Cursor,
    summaries: LiveSummaries,
    performance: PerformanceTracker,
    progress: Progress,
) -> LogReading:
    """Add the new rows of the version to its summaries, and count all others.

    Args:
        folder: Of the prediction log.
        cursor: Where the last look ended.
        summaries: Of the version that is looked at.
        performance: Gets the rows of every version.
        progress: Called for each batch.

    Raises:
        EnvironmentFault: a file cannot be read.
    """
    reading = LogReading(cursor, exists=folder.is_dir())
    digest = summaries.model.bundle.digest
    for batch in read_since(folder, cursor):
        reading.cursor = batch.cursor
        reading.requests += batch.requests
        reading.probes += batch.probes
        reading.unreadable_count += len(batch.faults)
        reading.unreadable += batch.faults[: max(0, MAX_NAMED - len(reading.unreadable))]
        reading.gaps += batch.gaps
        served = batch.served
        if served is None:
            continue
        performance.add(served)
        if served.digest == digest:
            _add(served, summaries, reading)
            progress(f"{reading.rows:,} rows", 0.5)
        else:
            reading.other_rows[served.version] += len(served)
    return reading


def _add(served: ServedRows, summaries: LiveSummaries, reading: LogReading) -> None:
    summaries.add(served)
    reading.rows += len(served)
    reading.newest = max(reading.newest or 0.0, float(served.times.max()))
    reading.not_logged |= served.hashed | {*served.omitted}
