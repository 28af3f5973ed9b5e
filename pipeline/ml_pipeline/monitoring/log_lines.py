"""Reads a file of the prediction log in blocks of finished lines."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import msgspec

from ml_pipeline.serving import prediction_log
from ml_pipeline.serving.prediction_log import LoggedModel, LoggedRequest

BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 64 << 20
"""A longer line is not one of a prediction log."""

FORGOTTEN = b'"request_id":""'
"""In a line of which ``ml-pipeline forget`` removed all rows."""
NOT_A_REQUEST = "not a request of a prediction log"
TORN = "incomplete: the line was cut off"
NO_MODEL = "the first line does not name the model; the requests behind it are not counted"
UNEVEN = "features and predictions do not fit each other or the model"
OTHER_CONTENT = "the file was replaced by other content; the rest of the line is left out"


@dataclass(frozen=True)
class Unreadable:
    """Lines of a file that could not be read; reading went on behind them."""

    file: str
    line: int | None
    """Number of the first one; None for the whole file."""
    why: str
    count: int = 1
    """Lines with this fault in a block of the file."""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}, line {self.line}"
        more = f" ({self.count} lines)" if self.count > 1 else ""
        return f"{place}: {self.why}{more}"


@dataclass(frozen=True)
class LogModel:
    """The model of a file, as its first line names it."""

    digest: str
    version: int | None
    features: tuple[str, ...]
    hashed: frozenset[str] = frozenset()
    omitted: tuple[str, ...] = ()


@dataclass
class FileBlock:
    """Consecutive rows of a file."""

    model: LogModel | None = None
    width: int | None = None
    """Classes of a prediction; None for a number."""
    ids: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    rows: list[Sequence[Any]] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    requests: int = 0
    probes: int = 0
    forgotten: int = 0
    faults: list[Unreadable] = field(default_factory=list)
    end: int = 0
    read_lines: int = 0
    read_rows: int = 0
    skipped_rows: int = 0


def fingerprint(stream: IO[bytes]) -> str:
    """Return a digest of the first two lines; empty until they are finished.

    It is empty too if the first request is forgotten, since such lines may be equal.
    """
    stream.seek(0)
    lines = stream.readline(MAX_LINE_BYTES), stream.readline(MAX_LINE_BYTES)
    if not all(line.endswith(b"\n") for line in lines) or FORGOTTEN in lines[1]:
        return ""
    return hashlib.sha256(b"".join(lines)).hexdigest()[:32]


def blocks(
    stream: IO[bytes], name: str, offset: int, lines: int, size: int, skip: int = 0
) -> Iterator[FileBlock]:
    """Yield the finished lines of a file behind ``offset``.

    Args:
        stream: of the file.
        name: of the file, for faults.
        offset: end of the last line that was read.
        lines: number of the lines before it.
        size: bytes of the file; what is appended later is not read.
        skip: rows behind ``offset`` to leave out.
    """
    if size < offset:
        why = f"has {size:,} bytes, although {offset:,} were read; not read until it is longer"
        yield FileBlock(faults=[Unreadable(name, None, why)], end=offset)
        return
    model, why = _model(stream)
    faults: list[Unreadable] = []
    if offset and not _ends_line(stream, offset):
        end = _next_line(stream, offset, size)
        if end is None:
            return
        faults = [Unreadable(name, lines + 1, OTHER_CONTENT)]
        yield FileBlock(faults=faults, end=end, read_lines=1)
        offset, lines = end, lines + 1
    while offset < size:
        stream.seek(offset)
        content = stream.read(min(BLOCK_BYTES, size - offset))
        last = content.rfind(b"\n")
        if last < 0:
            end = _next_line(stream, offset, size)
            if end is None:
                return
            if end - offset > MAX_LINE_BYTES:
                fault = Unreadable(name, lines + 1, NOT_A_REQUEST)
                yield FileBlock(faults=[fault], end=end, read_lines=1)
                offset, lines = end, lines + 1
                continue
            stream.seek(offset)
            content = stream.read(end - offset)
            last = len(content) - 1
        content = content[: last + 1]
        if model is None:
            count = content.count(b"\n")
            block = FileBlock(faults=[Unreadable(name, lines + 1, why, count)], read_lines=count)
        else:
            block = _block(content, model, name, lines, skip)
            skip -= block.skipped_rows
        offset += len(content)
        lines += block.read_lines
        block.end = offset
        yield block


def _model(stream: IO[bytes]) -> tuple[LogModel | None, str]:
    """Return the model of a file, or why its first line does not name it."""
    stream.seek(0)
    line = stream.readline(MAX_LINE_BYTES)
    try:
        header = _decode_model(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, _other_schema(line) or NO_MODEL
    return (
        LogModel(
            digest=header.digest,
            version=header.model_version,
            features=tuple(header.features),
            hashed=frozenset(header.hashed),
            omitted=tuple(header.omitted),
        ),
        "",
    )


def _other_schema(line: bytes) -> str | None:
    try:
        schema = msgspec.json.decode(line)["schema"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return None
    if schema == prediction_log.SCHEMA:
        return None
    return (
        f"schema {str(schema)[:80]!r}, expected {prediction_log.SCHEMA}; "
        "the requests behind it are not counted"
    )


def _ends_line(stream: IO[bytes], offset: int) -> bool:
    stream.seek(offset - 1)
    return stream.read(1) == b"\n"


def _next_line(stream: IO[bytes], offset: int, size: int) -> int | None:
    """Return the end of the line at ``offset``; None if it is not finished."""
    stream.seek(offset)
    while offset < size:
        content = stream.read(min(BLOCK_BYTES, size - offset))
        if not content:
            return None
        place = content.find(b"\n")
        if place >= 0:
            return offset + place + 1
        offset += len(content)
    return None


def _block(content: bytes, model: LogModel, name: str, lines: int, skip: int) -> FileBlock:
    block = FileBlock(model=model, read_lines=content.count(b"\n"))
    header = 1 if lines == 0 else 0
    if header:
        content = content[content.index(b"\n") + 1 :]
    faults: dict[str, Unreadable] = {}
    for number, request in enumerate(_requests(content), lines + header + 1):
        if isinstance(request, str):
            why: str | None = request
        elif block.skipped_rows < skip:
            block.skipped_rows += len(request.features)
            continue
        else:
            why = _add(block, request, len(model.features))
        if why:
            first = faults.get(why)
            faults[why] = Unreadable(
                name,
                number if first is None else first.line,
                why,
                1 if first is None else first.count + 1,
            )
    block.faults = list(faults.values())
    return block


def _requests(content: bytes) -> Sequence[LoggedRequest | str]:
    """Return the request of each line, or what is wrong with it."""
    try:
        requests = _decode_lines(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        requests = []
    if len(requests) == content.count(b"\n"):
        return requests
    return [_request(line) for line in content.removesuffix(b"\n").split(b"\n")]


def _request(line: bytes) -> LoggedRequest | str:
    try:
        return prediction_log.decode_request(line)
    except (ValueError, TypeError, RecursionError):
        return NOT_A_REQUEST if line.rstrip().endswith(b"}") else TORN


def _add(block: FileBlock, request: LoggedRequest, features: int) -> str | None:
    """Add the rows of a request to a block; return why not, if they do not fit."""
    rows, predictions = request.features, request.predictions
    if not predictions or len(predictions) != len(rows) or not math.isfinite(request.time):
        return UNEVEN
    if len(rows) == 1 and rows[0] and len(rows[0]) == features and not request.is_probe:
        width = _width(predictions[0])
        if block.rows and width != block.width:
            return UNEVEN
        block.read_rows += 1
        block.width = width
        block.requests += 1
        block.ids.append(request.request_id)
        block.places.append(0)
        block.times.append(request.time)
        block.rows.append(rows[0])
        block.predictions.append(predictions[0])
        return None
    kept = [place for place, row in enumerate(rows) if row or not features]
    width = _width(predictions[kept[0]]) if kept else block.width
    if (block.rows and width != block.width) or (
        width is not None and any(len(predictions[place]) != width for place in kept)
    ):
        return UNEVEN
    if any(len(row) > features for row in rows):
        return UNEVEN
    block.read_rows += len(rows)
    if request.is_probe:
        block.probes += 1
        return None
    block.width = width
    block.forgotten += len(rows) - len(kept)
    block.requests += bool(kept)
    for place in kept:
        row = rows[place]
        block.ids.append(request.request_id)
        block.places.append(place)
        block.times.append(request.time)
        block.rows.append(row if len(row) == features else [*row, *[None] * (features - len(row))])
        block.predictions.append(predictions[place])
    return None


def _width(prediction: object) -> int | None:
    return len(prediction) if isinstance(prediction, list) else None


_decode_model = msgspec.json.Decoder(LoggedModel).decode
_decode_lines = msgspec.json.Decoder(LoggedRequest).decode_lines
