"""Reads the prediction log since a cursor: every request once, in bounded memory.

The log of an environment is a folder of files: JSON lines of its servers
(``ml_pipeline.serving.prediction_log``), whole copies of those of servers on other machines, and
Parquet archives of them (``ml_pipeline.monitoring.archived_log``). A file is identified by its name
without suffix, so that a file, a longer copy of it and its archive are one file. The cursor has the
position in each file and depends on no time.

A reader that stores the result of a batch together with ``Batch.cursor`` counts every request
exactly once: killed before that it gets the same batch again, killed afterwards the next one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.monitoring import archived_log, log_lines
from ml_pipeline.monitoring.log_lines import FileBlock, LogModel, Unreadable
from ml_pipeline.serving import prediction_log
from ml_pipeline.serving.removed_files import MAX_FILES, RemovedFile, removed_files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

MAX_GONE = 2 * MAX_FILES
"""Removed files that the cursor remembers, so that one that comes back is not read again."""

__all__ = ["Batch", "Cursor", "FilePosition", "Gap", "ServedRows", "Unreadable", "read_since"]


class FilePosition(BaseModel):
    """How much of a file was read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    offset: int = 0
    """Bytes of a file of JSON lines: the end of a line."""
    lines: int = 0
    """Lines before the offset."""
    rows: int = 0
    """Rows of requests before it, probes and forgotten rows too: the position in its archive."""
    skip: int = 0
    """Rows behind the offset that were read already, from an archive of the file."""
    size: int = 0
    """Bytes that the file had when it was read last."""
    fingerprint: str = ""
    """Digest of its first two lines, by which a copy under another name is recognised."""
    copy_of: str | None = None
    """The file of which this is a copy; it is not read."""
    cut: bool = False
    """Whether the rest of the file was removed on another machine before it was copied."""


class Cursor(BaseModel):
    """The positions in all files of a log; an empty cursor reads from the beginning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, FilePosition] = {}
    """By name without suffix."""
    gone: dict[str, str] = {}
    """Files that were removed and are accounted for, with their fingerprints; the newest last."""
    started: bool = False
    """Whether the log was read before; what was removed earlier is no gap."""


@dataclass(frozen=True)
class ServedRows:
    """Rows that one version of a model predicted, in the order of the log; no probes."""

    digest: str
    version: int | None
    features: tuple[str, ...]
    """Those that the log has."""
    hashed: frozenset[str]
    """Those of them whose values are hashed."""
    omitted: tuple[str, ...]
    """Features of the model that the log does not have."""
    request_ids: list[str]
    places: Ints
    """Position of a row in its request."""
    times: Floats
    """Time of the response, in seconds since the epoch."""
    columns: list[NDArray[Any]]
    """By feature: float64 with NaN for missing if all values are numbers, else object with None."""
    predictions: Floats
    """Shape [n], or [n, k] for k classes."""

    def __len__(self) -> int:
        return len(self.request_ids)


@dataclass(frozen=True)
class Gap:
    """A file that was removed before all of it was read."""

    file: str
    unread_bytes: int | None
    """None: unknown, since the file was not removed by the rotation."""

    def __str__(self) -> str:
        if self.unread_bytes is None:
            return f"{self.file} was removed, but not by the rotation of the log"
        return f"{self.file} was removed with {self.unread_bytes:,} bytes that were not read"


@dataclass(frozen=True)
class Batch:
    """Rows of one version, and the cursor behind them."""

    cursor: Cursor
    served: ServedRows | None = None
    requests: int = 0
    """Requests of these rows."""
    probes: int = 0
    """Requests of deploy, promote, verify and load-test, which are left out."""
    forgotten: int = 0
    """Rows that ``ml-pipeline forget`` removed."""
    faults: tuple[Unreadable, ...] = ()
    gaps: tuple[Gap, ...] = ()


@dataclass
class _Rows:
    """Rows of one model that become a batch."""

    model: LogModel | None = None
    width: int | None = None
    ids: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    rows: list[Sequence[Any]] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    requests: int = 0
    probes: int = 0
    forgotten: int = 0
    faults: list[Unreadable] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    def takes(self, block: FileBlock) -> bool:
        """Return whether the rows of a block can be added: they are of the same model."""
        if not block.rows or not self.rows:
            return True
        return (block.model, block.width) == (self.model, self.width)

    def add(self, block: FileBlock) -> None:
        if block.rows:
            self.model, self.width = block.model, block.width
        self.ids += block.ids
        self.places += block.places
        self.times += block.times
        self.rows += block.rows
        self.predictions += block.predictions
        self.requests += block.requests
        self.probes += block.probes
        self.forgotten += block.forgotten
        self.faults += block.faults

    def batch(self, cursor: Cursor) -> Batch:
        return Batch(
            cursor=cursor,
            served=self._served(),
            requests=self.requests,
            probes=self.probes,
            forgotten=self.forgotten,
            faults=tuple(self.faults),
            gaps=tuple(self.gaps),
        )

    def _served(self) -> ServedRows | None:
        import numpy as np

        if self.model is None or not self.rows:
            return None
        return ServedRows(
            digest=self.model.digest,
            version=self.model.version,
            features=self.model.features,
            hashed=self.model.hashed,
            omitted=self.model.omitted,
            request_ids=self.ids,
            places=np.array(self.places, dtype=np.int64),
            times=np.array(self.times, dtype=np.float64),
            columns=_columns(self.rows, len(self.model.features)),
            predictions=np.array(self.predictions, dtype=np.float64),
        )


def read_since(folder: Path, cursor: Cursor, *, rows: int = 100_000) -> Iterator[Batch]:
    """Yield what the log holds behind the cursor, and the cursor behind that.

    Files are read in the order of their names. The unfinished last line of a file is left for the
    next call, since a server may be writing it. The last batch may have no rows, but only a cursor,
    faults or gaps; there is no batch if nothing changed.

    Args:
        folder: of the log; a missing folder is an empty log.
        cursor: that of the last batch of the call before.
        rows: of a batch, about: a block of a file is never divided.

    Raises:
        EnvironmentFault: a file cannot be read, although it exists.
    """
    present = _present(folder)
    removed = {Path(one.file).stem: one for one in removed_files(folder)}
    gone, gaps = _removed(removed, cursor, present)
    files = {stem: place for stem, place in cursor.files.items() if stem in present}
    gone = dict(list((cursor.gone | gone).items())[-MAX_GONE:])
    last = cursor
    pending = _Rows(gaps=gaps)

    def cursor_now() -> Cursor:
        return Cursor(files=dict(files), gone=gone, started=True)

    fingerprints = {fingerprint: stem for stem, fingerprint in gone.items() if fingerprint}
    fingerprints |= {one.fingerprint: stem for stem, one in files.items() if one.copy_of is None}
    for stem in sorted(present):
        if stem in gone:
            continue
        place = files.get(stem, FilePosition())
        try:
            for block, after in _blocks(present[stem], place, fingerprints):
                if pending.rows and not pending.takes(block):
                    last = cursor_now()
                    yield pending.batch(last)
                    pending = _Rows()
                pending.add(block)
                files[stem] = after
                if len(pending.rows) >= rows:
                    last = cursor_now()
                    yield pending.batch(last)
                    pending = _Rows()
        except FileNotFoundError:
            continue  # removed since the folder was listed; accounted for in the next call
        except OSError as error:
            raise EnvironmentFault(
                f"{present[stem]} cannot be read: {error.strerror}",
                expected="a file of the prediction log",
                hint="see to the file, or move it out of the folder",
            ) from None
        if stem in files:
            fingerprints.setdefault(files[stem].fingerprint, stem)
            rest = _rest_removed(present[stem], files[stem], removed.get(stem))
            if rest:
                files[stem] = files[stem].model_copy(update={"cut": True})
                pending.gaps += [Gap(present[stem].name, rest)] if cursor.started else []
    final = cursor_now()
    if final != last or pending.faults or pending.gaps:
        yield pending.batch(final)


def _present(folder: Path) -> dict[str, Path]:
    """Return the files of a log by name without suffix; of a file and its archive, the file."""
    found = {
        path.name.removesuffix(archived_log.SUFFIX): path for path in archived_log.files(folder)
    }
    lines = {
        path.name.removesuffix(prediction_log.SUFFIX): path for path in prediction_log.files(folder)
    }
    return found | lines


def _rest_removed(path: Path, place: FilePosition, removed: RemovedFile | None) -> int:
    """Return the bytes of a copy that its machine removed before they were copied."""
    if removed is None or place.cut or place.copy_of is not None:
        return 0
    try:
        return max(0, removed.bytes - path.stat().st_size)
    except FileNotFoundError:
        return 0


def _removed(
    by_rotation: Mapping[str, RemovedFile], cursor: Cursor, present: Iterable[str]
) -> tuple[dict[str, str], list[Gap]]:
    """Return the files that were removed since the last call, and what of them was not read."""
    here, accounted = set(present), cursor.gone
    gone: dict[str, str] = {}
    gaps: list[Gap] = []
    for stem, one in by_rotation.items():
        if stem in here or stem in accounted:
            continue
        place = cursor.files.get(stem, FilePosition())
        gone[stem] = place.fingerprint
        was_read = place.cut or place.copy_of is not None or one.bytes <= place.offset
        if cursor.started and not was_read:
            gaps.append(Gap(one.file, one.bytes - place.offset))
    for stem, place in cursor.files.items():
        if stem in here or stem in accounted or stem in by_rotation:
            continue
        gone[stem] = place.fingerprint
        if place.copy_of is None:
            suffix = prediction_log.SUFFIX if place.offset else archived_log.SUFFIX
            gaps.append(Gap(stem + suffix, None))
    return gone, gaps


def _blocks(
    path: Path, place: FilePosition, fingerprints: dict[str, str]
) -> Iterator[tuple[FileBlock, FilePosition]]:
    """Yield the blocks of a file behind a position, each with the position behind it."""
    if place.copy_of is not None:
        return
    if path.name.endswith(archived_log.SUFFIX):
        for block in archived_log.blocks(path, place.rows):
            place = place.model_copy(update={"rows": place.rows + block.read_rows})
            yield block, place
        return
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        fingerprint = place.fingerprint or log_lines.fingerprint(stream)
        original = fingerprints.get(fingerprint) if fingerprint else None
        if original is not None and original + prediction_log.SUFFIX != path.name:
            why = f"a copy of {original}{prediction_log.SUFFIX}; it is not read again"
            yield (
                FileBlock(faults=[Unreadable(path.name, None, why)]),
                FilePosition(fingerprint=fingerprint, copy_of=original, size=size),
            )
            return
        skip = place.skip if place.offset else place.rows
        for block in log_lines.blocks(stream, path.name, place.offset, place.lines, size, skip):
            skip -= block.skipped_rows
            place = place.model_copy(
                update={
                    "offset": block.end,
                    "lines": place.lines + block.read_lines,
                    "rows": place.rows + block.read_rows,
                    "skip": skip,
                    "size": size,
                    "fingerprint": fingerprint,
                }
            )
            yield block, place


def _columns(rows: Sequence[Sequence[Any]], count: int) -> list[NDArray[Any]]:
    return [_column(values) for values in zip(*rows, strict=True)] if count else []


_NUMBERS = {float, int, type(None)}


def _column(values: tuple[Any, ...]) -> NDArray[Any]:
    import numpy as np

    if set(map(type, values)) <= _NUMBERS:
        try:
            return np.array(values, dtype=np.float64)
        except OverflowError:  # an integer beyond float64, which no server accepts
            return np.array([_number(value) for value in values], dtype=np.float64)
    column = np.empty(len(values), dtype=object)
    column[:] = [
        value if value is None or isinstance(value, str) else json.dumps(value) for value in values
    ]
    return column


def _number(value: float | None) -> float:
    if value is None:
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
