"""Production's prediction log, as far as a replay needs it.

One JSON object a line in ``*.jsonl``, or the same columns in ``*.parquet``: ``request_id``,
``time``, ``version``, ``features`` (in the model's order), ``probability``. A line that is cut
off, as the last one of a file that is being written may be, is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import EnvironmentFault


@dataclass(frozen=True)
class Recorded:
    """A row that production answered."""

    request_id: str
    time: str
    version: int | None
    features: list[Any]
    probability: float


def newest(folder: Path, *, version: int | None, width: int, count: int) -> list[Recorded]:
    """Return the newest rows that a version answered, oldest first, ``count`` at most.

    Args:
        folder: of the log; none is an empty log.
        version: other versions' rows have other features.
        width: number of features; rows of another width are left out.
        count: at most.
    """
    rows: list[Recorded] = []
    files = sorted(folder.glob("*.*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in files:
        if len(rows) >= count:
            break
        fitting = [
            row for row in _read(path) if row.version == version and len(row.features) == width
        ]
        rows = fitting[-(count - len(rows)) :] + rows
    return rows


def _read(path: Path) -> Iterator[Recorded]:
    if path.suffix == ".jsonl":
        with path.open("rb") as stream:
            for line in stream:
                row = _row(line, path)
                if row is not None:
                    yield row
    elif path.suffix == ".parquet":
        import pyarrow.parquet as pq

        for values in pq.read_table(path).to_pylist():
            yield _recorded(values, path)


def _row(line: bytes, path: Path) -> Recorded | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return _recorded(values, path)


def _recorded(values: Any, path: Path) -> Recorded:
    try:
        return Recorded(
            request_id=str(values["request_id"]),
            time=str(values["time"]),
            version=values["version"],
            features=list(values["features"]),
            probability=float(values["probability"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise EnvironmentFault(
            f"{path} is no prediction log: {error!r}",
            expected="request_id, time, version, features and probability",
        ) from None
