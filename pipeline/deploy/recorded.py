"""Production's prediction log, as far as a replay needs it.

Files ``*.jsonl``, named by their time of creation. The first line of each tells the model
(``model_version``, ``features``); every other one is a request: ``request_id``, ``time`` in seconds
since the epoch, ``features`` and ``probability`` with a row or more. A last line that is cut off,
as that of a file that is being written may be, is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import EnvironmentFault

PROBE = "ml-pipeline-probe"
"""The request id of what deploy, promote and verify ask, which no client asked for."""


@dataclass(frozen=True)
class Recorded:
    """A row that production answered."""

    request_id: str
    time: float
    version: int | None
    features: list[Any]
    probability: float


def newest(
    folder: Path, *, version: int | None, features: Sequence[str], count: int
) -> list[Recorded]:
    """Return the newest rows that a version answered, oldest first, ``count`` at most.

    Args:
        folder: of the log; none is an empty log.
        version: that answered.
        features: names and order; rows of a file with others are left out.
        count: at most.

    Raises:
        EnvironmentFault: a file is no prediction log.
    """
    rows: list[Recorded] = []
    for path in sorted(folder.glob("*.jsonl"), reverse=True):
        if len(rows) >= count:
            break
        found = list(_rows(path, version, list(features)))
        rows = found[-(count - len(rows)) :] + rows
    return rows


def _rows(path: Path, version: int | None, features: list[str]) -> Iterator[Recorded]:
    with path.open("rb") as stream:
        try:
            source = json.loads(next(stream, b"null"))
            if source is None or (source["model_version"], source["features"]) != (
                version,
                features,
            ):
                return
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                told = json.loads(line)
                if told["request_id"] == PROBE:
                    continue
                for row, probability in zip(told["features"], told["probability"], strict=True):
                    yield Recorded(
                        request_id=str(told["request_id"]),
                        time=float(told["time"]),
                        version=version,
                        features=list(row),
                        probability=float(probability),
                    )
        except (ValueError, KeyError, TypeError) as error:
            raise EnvironmentFault(
                f"{path} is no prediction log: {error!r}", expected="files that a server wrote"
            ) from None
