"""Removes the rows of an entity from files of rows, each file atomically.

A removed row of the prediction log stays as an empty one, and a rewritten line is filled with
blanks to its former length. So neither the size of a file nor the position of a line changes: the
cursor of ``ml_pipeline.monitoring.served_rows``, the list of removed files and the copying of
remote logs by size stay valid, and rows of one request keep their places.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from ml_pipeline.core import workdir
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.whitespace import BLANKS
from ml_pipeline.monitoring import archived_log, label_source
from ml_pipeline.monitoring.labels import GROUP, SCHEME
from ml_pipeline.serving import prediction_log
from ml_pipeline.serving.redaction import hashed_value

if TYPE_CHECKING:
    import pyarrow as pa

Raw = msgspec.Raw
RowId = tuple[str, int, float]
"""The request id of a row, its place in the request, and the time of the response."""
EMPTY_ROW, EMPTY_TEXT, NO_NUMBER, NO_NUMBERS = (Raw(text) for text in (b"[]", b'""', b"0", b"[]"))


@dataclass(frozen=True)
class Entity:
    """The value of a column by which rows belong to an entity."""

    column: str
    value: str
    key: bytes | None
    """That of ``serving.redact``, if there is one."""

    def values(self) -> tuple[str | float, ...]:
        """Return what the log may have for it: the text, and the number that it may be."""
        text = self.value.strip(BLANKS)
        try:
            return text, float(text)
        except ValueError:
            return (text,)

    def hashes(self) -> tuple[str | float, ...]:
        """Return what the log has for it in a hashed column.

        Raises:
            EnvironmentFault: the key is missing.
        """
        if self.key is None:
            raise EnvironmentFault(
                f"'{self.column}' is hashed in the prediction log, and its key is missing",
                expected="the key of serving.redact",
                hint="set the variable of serving.redact_key_env, or restore keys/redact.key",
            )
        hashed = (hashed_value(self.key, self.column, value) for value in self.values())
        return tuple(value for value in hashed if value is not None)


@dataclass
class Removed:
    """What was removed from files."""

    rows: int = 0
    files: int = 0
    ids: set[RowId] = field(default_factory=set)
    omitting: list[str] = field(default_factory=list)
    """Files whose rows lack the column, since it is omitted."""
    unreadable: list[str] = field(default_factory=list)
    """Files, or lines of them, that could not be examined."""
    has_column: bool = False
    """Whether a file has the column, or omits it."""
    features: set[str] = field(default_factory=set)
    """Of all files."""


def _is_one_of(value: object, wanted: Sequence[str | float]) -> bool:
    if isinstance(value, str):
        return value.strip(BLANKS) in wanted
    return isinstance(value, int | float) and not isinstance(value, bool) and value in wanted


def forget_in_log(path: Path, entity: Entity, removed: Removed, *, rewrite: bool = True) -> None:
    """Remove an entity's rows from a file of the prediction log, which a server may be writing.

    Without ``rewrite`` they are only found.

    The file is locked meanwhile; its server waits for that before it writes its next lines, and
    then begins another file.

    Raises:
        EnvironmentFault: the file cannot be locked or written, or the key of hashes is missing.
    """
    try:
        with path.open("rb") as stream:
            if rewrite:
                fcntl.flock(stream, fcntl.LOCK_EX)
            _forget_in_log(path, stream, entity, removed, rewrite=rewrite)
    except FileNotFoundError:
        return  # removed by the rotation
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: {error.strerror}; the rows in it are not removed",
            hint="see to the file and run 'ml-pipeline forget' again",
        ) from error


def _forget_in_log(
    path: Path, stream: IO[bytes], entity: Entity, removed: Removed, *, rewrite: bool
) -> None:
    header = stream.readline()
    try:
        model = prediction_log.decode_model(header)
    except (ValueError, TypeError, RecursionError):
        if header:
            removed.unreadable.append(f"{path}: the first line does not name the model")
        return
    removed.features |= {*model.features}
    if entity.column in model.omitted:
        removed.has_column = True
        removed.omitting.append(str(path))
        return
    if entity.column not in model.features:
        return
    removed.has_column = True
    wanted = entity.hashes() if entity.column in model.hashed else entity.values()
    place = model.features.index(entity.column)
    rows_before = removed.rows
    changed: dict[int, bytes] = {}
    for number, line in enumerate(stream, 2):
        try:
            shorter = _without(line, place, wanted, removed)
        except (ValueError, TypeError, KeyError, RecursionError):
            removed.unreadable.append(f"{path}, line {number}: not a request of a prediction log")
            continue
        if shorter is not None:
            changed[number] = shorter
    if not rewrite or removed.rows == rows_before:
        return
    removed.files += 1
    stream.seek(0)
    stat = os.fstat(stream.fileno())
    with _replacing(path, stat) as target:
        for number, line in enumerate(stream, 1):
            target.write(changed.get(number, line))
        target.flush()
        os.utime(target.fileno(), ns=(stat.st_atime_ns, stat.st_mtime_ns))
        if os.fstat(stream.fileno()).st_nlink == 0:
            raise FileNotFoundError(path)


@contextlib.contextmanager
def _replacing(path: Path, stat: os.stat_result) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of ``path``, with its permissions."""
    with workdir.atomic_path(path) as temporary, temporary.open("wb") as target:
        yield target
    path.chmod(stat.st_mode & 0o777)


def _without(
    line: bytes, place: int, wanted: Sequence[str | float], removed: Removed
) -> bytes | None:
    """Return a line without the rows of the entity, as long as before; None if it has none.

    All other values stay byte by byte.
    """
    if not line.endswith(b"\n"):
        raise ValueError("an unfinished line")
    request: dict[str, Raw] = msgspec.json.decode(line, type=dict[str, Raw])
    rows = msgspec.json.decode(request["features"], type=list[Raw])
    values = [json.loads(bytes(row)) for row in rows]
    own = [
        number
        for number, row in enumerate(values)
        if len(row) > place and _is_one_of(row[place], wanted)
    ]
    if not own:
        return None
    request_id = str(json.loads(bytes(request["request_id"])))
    time = float(bytes(request["time"]))
    kept = [number for number, row in enumerate(values) if row and number not in own]
    for number in own:
        rows[number] = EMPTY_ROW
        removed.ids.add((request_id, number, time))
    removed.rows += len(own)
    for key, empty in _PREDICTIONS.items():
        if key in request:
            predictions = msgspec.json.decode(request[key], type=list[Raw])
            for number in own:
                predictions[number] = empty
            request[key] = Raw(msgspec.json.encode(predictions))
    request["features"] = Raw(msgspec.json.encode(rows))
    if not kept:
        request["request_id"] = EMPTY_TEXT
    content = msgspec.json.encode(request)
    return content + b" " * (len(line) - 1 - len(content)) + b"\n"


_PREDICTIONS = {"probability": NO_NUMBER, "prediction": NO_NUMBER, "probabilities": NO_NUMBERS}


def forget_in_archive(
    path: Path, entity: Entity, removed: Removed, *, rewrite: bool = True
) -> None:
    """Remove an entity's rows from an archive of the prediction log: they stay as empty rows.

    Without ``rewrite`` they are only found.

    Raises:
        EnvironmentFault: the archive cannot be written, or the key of hashes is missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        removed.unreadable.append(f"{path}: {str(error).splitlines()[0]}")
        return
    columns = archived_log.feature_columns(table)
    hashed, omitted = archived_log.redacted(table.schema)
    removed.features |= columns.keys()
    if entity.column in omitted:
        removed.has_column = True
        removed.omitting.append(str(path))
    if entity.column not in columns:
        return
    removed.has_column = True
    wanted = entity.hashes() if entity.column in hashed else entity.values()
    own = [_is_one_of(value, wanted) for value in columns[entity.column].to_pylist()]
    if not any(own):
        return
    removed.ids |= _row_ids(table, own)
    removed.rows += sum(own)
    removed.files += 1
    if not rewrite:
        return
    mask = pa.array(own)
    for position, name in enumerate(table.column_names):
        column = table.column(position)
        if name == "request_id":
            emptied = _masked(column, mask, "")
        elif name.startswith("features") or name in archived_log.PREDICTIONS:
            emptied = _masked(column, mask, None)
        else:
            continue
        table = table.set_column(
            position, table.schema.field(position).with_type(column.type), emptied
        )
    _write_table(path, table)


def _masked(column: pa.ChunkedArray, mask: pa.Array, value: str | None) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(mask, pa.scalar(value, column.type), column)


def _row_ids(table: pa.Table, own: Sequence[bool]) -> set[RowId]:
    ids = table.column("request_id").to_pylist()
    places = table.column("row").to_pylist() if "row" in table.column_names else [0] * len(ids)
    times = archived_log.seconds(table.column("time"))
    return {
        (ids[row], int(places[row] or 0), times[row] or 0.0)
        for row, is_own in enumerate(own)
        if is_own
    }


def forget_in_segment(path: Path, entity: Entity, ids: set[RowId], removed: Removed) -> None:
    """Remove an entity's rows from rows that wait for labels, or have them.

    They are the rows of ``ids``, those whose key holds the value, and those of its group.

    Raises:
        EnvironmentFault: the file cannot be read or written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        removed.unreadable.append(f"{path}: {str(error).splitlines()[0]}")
        return
    names = ("request_id", "row", "time")
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    own = [row in ids for row in rows]
    part = _key_part((table.schema.metadata or {}).get(SCHEME), entity.column)
    if part is not None:
        wanted = {label_source.key_text(value) for value in entity.values()}
        for row, key in enumerate(table["key"].to_pylist()):
            own[row] |= key.split(label_source.SEPARATOR)[part] in wanted
    if GROUP + entity.column in table.column_names:
        for row, value in enumerate(table[GROUP + entity.column].to_pylist()):
            own[row] |= _is_one_of(value, entity.values())
    if any(own):
        removed.rows += sum(own)
        removed.files += 1
        _write_table(path, table.filter(pa.array([not one for one in own])))


def _key_part(scheme: bytes | None, column: str) -> int | None:
    """Return the part of the keys that has the column's value."""
    if scheme is None:
        return None
    by_request, has_day, names, _ = json.loads(scheme)
    if by_request or column not in names:
        return None
    return int(names.index(column)) + bool(has_day)


def _write_table(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    stat = path.stat()
    try:
        with workdir.atomic_path(path) as temporary:
            pq.write_table(table, temporary)
            os.utime(temporary, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        path.chmod(stat.st_mode & 0o777)
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: {error.strerror}; the rows in it are not removed",
            hint="see to the file and run 'ml-pipeline forget' again",
        ) from error


def forget_in_records(path: Path, ids: set[RowId], removed: Removed) -> None:
    """Remove the requests of an entity's rows from the records of a shadow that has ended.

    Raises:
        EnvironmentFault: the file cannot be read or written.
    """
    requests = {request_id for request_id, _, _ in ids}
    kept, count = [], 0
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    is_own = json.loads(line)["id"] in requests
                except (ValueError, KeyError, TypeError):
                    removed.unreadable.append(f"{path}, line {number}: not a record of a shadow")
                    is_own = False
                count += is_own
                kept += [] if is_own else [line]
        if count:
            removed.rows += count
            removed.files += 1
            with _replacing(path, path.stat()) as target:
                target.writelines(kept)
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: {error.strerror}; the requests in it are not removed",
            hint="see to the file and run 'ml-pipeline forget' again",
        ) from error
