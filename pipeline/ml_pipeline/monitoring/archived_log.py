"""Parquet archives of files of the prediction log.

An archive has the name of its file with the suffix ``.parquet``, in the same folder, and a row for
each row of a request, in the order of the file, probes included:

==================  ============================================================================
``request_id``      text
``row``             position of the row in its request
``time``            seconds since the epoch, or a timestamp
``digest``          of the model
``model_version``   null for a bundle that is not registered
``features.NAME``   the value of each feature, null where it is missing; or a struct ``features``
``probability``     or ``prediction``, or ``probabilities`` (a list)
==================  ============================================================================

The keys ``hashed`` and ``omitted`` of the schema's metadata are JSON lists, as in a file's first
line. A row that ``ml-pipeline forget`` removed has an empty ``request_id`` and no values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core import workdir
from ml_pipeline.core.errors import Refused
from ml_pipeline.monitoring import log_lines
from ml_pipeline.monitoring.log_lines import FileBlock, LogModel, Unreadable
from ml_pipeline.serving import prediction_log

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".parquet"
PREFIX = "features."
BATCH_ROWS = 10_000
PREDICTIONS = ("probability", "prediction", "probabilities")
KEYS = ("request_id", "time", "digest", "model_version")


def files(folder: Path) -> list[Path]:
    """Return the archives in a folder in the order of their names."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def blocks(path: Path, start: int) -> Iterator[FileBlock]:
    """Yield the rows of an archive behind row ``start``; each block is of one model.

    Raises:
        FileNotFoundError: it does not exist.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            missing = _missing(file.schema_arrow)
            count = file.metadata.num_rows
            if missing:
                yield _fault(path, f"not an archive of a prediction log: no column '{missing}'")
                return
            if count < start:
                why = f"has {count:,} rows, although {start:,} of the file were read"
                yield _fault(path, why)
                return
            hashed, omitted = redacted(file.schema_arrow)
            row = 0
            for batch in file.iter_batches(BATCH_ROWS):
                row += batch.num_rows
                if row > start:
                    skipped = max(0, start - (row - batch.num_rows))
                    yield from _batch_blocks(path, batch.slice(skipped), hashed, omitted)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        first = str(error).splitlines()
        yield _fault(path, f"not a finished Parquet file: {first[0][:200] if first else ''}")


def write(path: Path) -> Path:
    """Write the archive of a file of the prediction log beside it, and return its path.

    Raises:
        Refused: the file has a line that cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {"request_id": [], "row": [], "time": [], "model_version": []}
    columns |= {"digest": []}
    values: list[list[Any]] = []
    key, predictions = "probability", []
    header, requests = prediction_log.read_file(path)
    for request in requests:
        key = next(
            name for name in PREDICTIONS if getattr(request, name) is not prediction_log.UNSET
        )
        for place, row in enumerate(request.features):
            forgotten = not row and bool(header.features)
            columns["request_id"].append("" if forgotten else request.request_id)
            columns["row"].append(place)
            columns["time"].append(request.time)
            columns["model_version"].append(header.model_version)
            columns["digest"].append(header.digest)
            values.append([*row, *[None] * (len(header.features) - len(row))])
            predictions.append(None if forgotten else (request.predictions or [])[place])
    for position, name in enumerate(header.features):
        columns[PREFIX + name] = [row[position] for row in values]
    columns[key] = predictions
    try:
        table = pa.table(columns)
    except pa.ArrowException as error:
        raise Refused(f"{path} cannot be archived: {error}") from None
    notes = {"hashed": json.dumps(header.hashed), "omitted": json.dumps(header.omitted)}
    table = table.replace_schema_metadata(notes)
    archive = path.with_suffix(SUFFIX)
    with workdir.atomic_path(archive) as temporary:
        pq.write_table(table, temporary)
    archive.chmod(0o600)
    return archive


def redacted(schema: pa.Schema) -> tuple[list[str], list[str]]:
    """Return the features that an archive has hashed, and those that it omits."""
    metadata = schema.metadata or {}
    return _names(metadata.get(b"hashed")), _names(metadata.get(b"omitted"))


def feature_columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    """Return the columns of the features by name."""
    import pyarrow as pa

    while any(pa.types.is_struct(one.type) and one.name == "features" for one in table.schema):
        table = table.flatten()
    return {
        name.removeprefix(PREFIX): table.column(name)
        for name in table.column_names
        if name.startswith(PREFIX)
    }


def _fault(path: Path, why: str) -> FileBlock:
    return FileBlock(faults=[Unreadable(path.name, None, why)])


def _missing(schema: pa.Schema) -> str | None:
    for name in KEYS:
        if name not in schema.names:
            return name
    if "features" not in schema.names and not any(name.startswith(PREFIX) for name in schema.names):
        return f"{PREFIX}NAME"
    return None if set(PREDICTIONS) & set(schema.names) else " or ".join(PREDICTIONS)


def _names(encoded: bytes | None) -> list[str]:
    names = json.loads(encoded) if encoded else []
    return [str(name) for name in names] if isinstance(names, list) else []


def _batch_blocks(
    path: Path, batch: pa.RecordBatch, hashed: Sequence[str], omitted: Sequence[str]
) -> Iterator[FileBlock]:
    import pyarrow as pa

    table = pa.Table.from_batches([batch])
    named = feature_columns(table)
    key = next(name for name in PREDICTIONS if name in table.column_names)
    columns = [_values(column) for column in named.values()]
    digests = table.column("digest").to_pylist()
    versions = table.column("model_version").to_pylist()
    features = tuple(named)
    ids = table.column("request_id").to_pylist()
    places = (
        table.column("row").to_pylist() if "row" in table.column_names else [0] * table.num_rows
    )
    times = seconds(table.column("time"))
    predictions = table.column(key).to_pylist()
    start = 0
    for end in range(1, table.num_rows + 1):
        if end < table.num_rows and (digests[end], versions[end]) == (
            digests[start],
            versions[start],
        ):
            continue
        block = FileBlock(
            model=LogModel(
                str(digests[start]), versions[start], features, frozenset(hashed), tuple(omitted)
            ),
            read_rows=end - start,
        )
        uneven, last = 0, None
        for row in range(start, end):
            prediction = predictions[row]
            if ids[row] == "" and prediction is None:
                block.forgotten += 1
                continue
            is_new = (ids[row], places[row]) != (last, places[row]) or places[row] == 0
            last = ids[row]
            if ids[row] == prediction_log.PROBE:
                block.probes += is_new
                continue
            width = len(prediction) if isinstance(prediction, list) else None
            time = times[row]
            if (
                ids[row] is None
                or prediction is None
                or time is None
                or (block.rows and width != block.width)
            ):
                uneven += 1
                continue
            block.width = width
            block.requests += is_new
            block.ids.append(str(ids[row]))
            block.places.append(int(places[row] or 0))
            block.times.append(time)
            block.rows.append([column[row] for column in columns])
            block.predictions.append(prediction)
        if uneven:
            block.faults.append(Unreadable(path.name, None, log_lines.UNEVEN, uneven))
        yield block
        start = end


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return the values as the log has them: numbers, text or None."""
    return [
        None if value is None or value != value else value  # noqa: PLR0124  NaN is missing
        for value in column.to_pylist()
    ]


def seconds(column: pa.ChunkedArray) -> list[float | None]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(column.type):
        micros = pc.cast(column, pa.timestamp("us", tz=column.type.tz)).cast(pa.int64())
        return [None if value is None else value / 1e6 for value in micros.to_pylist()]
    return [None if value is None else float(value) for value in column.to_pylist()]
