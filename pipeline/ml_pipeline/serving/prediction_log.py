"""The prediction log: what was asked and answered, as JSON lines in rotated files.

A file begins with a line that tells the model (``Source``); each line after it is a request
(``Logged``). Every server process writes files of its own, named by their time of creation, and
never touches one again once the next is begun; the oldest are removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import queue
import re
import secrets
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

from ml_pipeline.core.errors import EnvironmentFault, Refused

SCHEMA = "ml-pipeline/predictions/1"
SUFFIX = ".jsonl"
NAMED = "%Y%m%dT%H%M%S.%fZ"
BEGINNING = re.compile(r"\d{8}T\d{6}\.\d{6}Z-")
"""Of a file's name: its time of creation, as ``NAMED``."""
MICROSECOND = timedelta(microseconds=1)
FLUSH_SECONDS = 0.1
"""How long an answered request waits for the disk, unless the disk is slow."""
MAX_PENDING = 16 << 20
"""Bytes that wait for the disk; what comes beyond is dropped and counted."""
END_SECONDS = 10.0
PROBE = "ml-pipeline-probe"
"""The request id of what deploy, promote, verify and load-test ask: no client asked for it."""

logger = logging.getLogger("ml_pipeline.serving")


class Source(msgspec.Struct, frozen=True, tag_field="schema", tag=SCHEMA):
    """The first line of a file: the model that its requests were answered by."""

    model: str
    model_version: int | None
    digest: str
    features: list[str]


class Logged(msgspec.Struct, frozen=True, gc=False):
    """A request that was answered."""

    request_id: str
    time: float
    """Of the answer, in seconds since the epoch."""
    model_version: int | None
    features: list[list[Any]]
    """Its rows in the order of the model's features, as they were asked; None where missing."""
    probability: list[float] | msgspec.UnsetType = msgspec.UNSET
    """Of class 1, one a row, where the model is a binary classifier."""
    prediction: list[float] | msgspec.UnsetType = msgspec.UNSET
    """One number a row, where it is a regression."""
    probabilities: list[list[float]] | msgspec.UnsetType = msgspec.UNSET
    """One list a row, a probability a class, where it is a multi-class classifier."""

    @property
    def is_probe(self) -> bool:
        """Whether no client asked for it: a request of deploy, promote, verify or load-test."""
        return self.request_id == PROBE


@dataclass(frozen=True)
class Rotation:
    """How much a folder holds: ``keep`` files of ``max_bytes`` bytes, give or take a request."""

    folder: Path
    max_bytes: int = 64 << 20
    keep: int = 16


class PredictionLog:
    """Takes requests on the event loop and writes them in a thread of its own.

    ``add`` never waits. A disk that is full or too slow costs entries, which are counted, and no
    answer.

    Raises:
        EnvironmentFault: the folder cannot be written.
    """

    def __init__(
        self,
        rotation: Rotation,
        source: Source,
        key: Literal["probability", "prediction", "probabilities"] = "probability",
    ) -> None:
        self._key = key
        try:
            rotation.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _unwritable(rotation.folder, error.strerror) from None
        if not os.access(rotation.folder, os.W_OK | os.X_OK):
            raise _unwritable(rotation.folder, "no permission")
        self.written = 0
        self._overflowed = self._lost = 0
        self._source = source
        self._files = _Files(rotation, source)
        self._lines: list[bytes] = []
        self._added = self._taken = 0
        self._batches: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._scheduled = False
        self._thread = threading.Thread(target=self._work, name="prediction-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Requests that were not written."""
        return self._overflowed + self._lost

    def add(self, request_id: str, rows: list[Any], predictions: list[Any]) -> None:
        """Log a request; called on the event loop, after the answer was sent."""
        if self._added - self._taken > MAX_PENDING:
            self._overflowed += 1
            return
        version = self._source.model_version
        entry = Logged(request_id, time.time(), version, rows, **{self._key: predictions})
        line = _line(entry)
        self._added += len(line)
        self._lines.append(line)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def close(self) -> None:
        """Write what is pending, and end."""
        self._flush()
        self._batches.put(None)
        self._thread.join(END_SECONDS)

    def _flush(self) -> None:
        self._scheduled = False
        self._batches.put(self._lines)
        self._lines = []

    def _work(self) -> None:
        for batch in iter(self._batches.get, None):
            content = b"".join(batch)
            if len(content) <= self._files.room:
                self._write(batch, content)
            else:
                self._write_in_parts(batch)
            self._taken += len(content)
        self._files.finish()

    def _write_in_parts(self, batch: list[bytes]) -> None:
        while batch:
            sizes = list(itertools.accumulate(map(len, batch)))
            count = bisect_right(sizes, self._files.room) or 1
            self._write(batch[:count], b"".join(batch[:count]))
            batch = batch[count:]

    def _write(self, lines: list[bytes], content: bytes) -> None:
        try:
            self._files.write(content)
            self.written += len(lines)
        except OSError as error:
            self._lost += len(lines)
            logger.error("prediction log: %s; %d requests are lost", error.strerror, len(lines))  # noqa: TRY400  # the disk's fault, not the program's


class _Files:
    """The file that is written now, and the ones before it."""

    def __init__(self, rotation: Rotation, source: Source) -> None:
        self._rotation = rotation
        self._head = msgspec.json.encode(source) + b"\n"
        self._file: int | None = None
        self._size = 0

    @property
    def room(self) -> int:
        """Bytes that still go into the file, or into the next one if it has none left."""
        left = self._rotation.max_bytes - self._size if self._file is not None else 0
        return left if left > 0 else self._rotation.max_bytes - len(self._head)

    def write(self, content: bytes) -> None:
        """Append whole lines; begin the next file where this one is full.

        Raises:
            OSError: the disk does not take them. What it took of them is the end of its file.
        """
        if self._file is not None and self._size + len(content) > self._rotation.max_bytes:
            self.finish()
        try:
            if self._file is None:
                self._begin()
            self._append(content)
        except OSError:
            self.finish()
            raise

    def finish(self) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            os.fsync(self._file)
        os.close(self._file)
        self._file = None

    def _begin(self) -> None:
        earlier = files(self._rotation.folder)
        name = f"{_after(earlier, datetime.now(UTC))}-{secrets.token_hex(3)}{SUFFIX}"
        for old in earlier[: -(self._rotation.keep - 1) or None]:
            old.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self._rotation.folder / name, flags, 0o600)
        self._size = 0
        self._append(self._head)

    def _append(self, content: bytes) -> None:
        left = memoryview(content)
        while left and self._file is not None:
            count = os.write(self._file, left)
            self._size += count
            left = left[count:]


def _after(earlier: Sequence[Path], now: datetime) -> str:
    """Return the beginning of a name that sorts after those of all files, whatever the clock says.

    Else a clock that was set back would make the newest file the one that is removed next.
    """
    last = max((path.name for path in earlier if BEGINNING.match(path.name)), default="")
    name = now.strftime(NAMED)
    if name > last:
        return name
    newest = datetime.strptime(last[: len(name)], NAMED).replace(tzinfo=UTC)
    return (newest + MICROSECOND).strftime(NAMED)


def files(folder: Path) -> list[Path]:
    """Return the files of a prediction log in the order of their creation."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def read(folder: Path, since: datetime | None = None) -> Iterator[tuple[Source, Logged]]:
    """Yield the requests of a prediction log, each with the model that answered it.

    In the order of their files; the files of two processes that served at once may overlap in
    time. A last line that its process did not finish is left out.

    Args:
        folder: of the log; one that is not there holds nothing.
        since: only requests answered then or later; with a time zone.

    Raises:
        Refused: a file holds something else.
    """
    start = 0.0 if since is None else since.timestamp()
    for path in files(folder):
        try:
            if path.stat().st_mtime >= start:
                for source, logged in _entries(path):
                    if logged.time >= start:
                        yield source, logged
        except FileNotFoundError:
            continue  # removed meanwhile, as the oldest one


def _entries(path: Path) -> Iterator[tuple[Source, Logged]]:
    source: Source | None = None
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                return
            try:
                if source is None:
                    source = _decode_source(line)
                else:
                    yield source, _decoded(line)
            except (ValueError, TypeError, RecursionError):
                raise Refused(
                    f"{path}, line {number}: no line of a prediction log",
                    expected=f"a file of the schema {SCHEMA}",
                ) from None


_decode_source = msgspec.json.Decoder(Source).decode
_decode = msgspec.json.Decoder(Logged).decode
_encode = msgspec.json.Encoder().encode


def _line(entry: Logged) -> bytes:
    try:
        return _encode(entry) + b"\n"
    except (ValueError, OverflowError):  # an integer over 64 bits, or half a character
        values = msgspec.structs.asdict(entry)
        known = {key: value for key, value in values.items() if value is not msgspec.UNSET}
        return json.dumps(known).encode() + b"\n"


def _decoded(line: bytes) -> Logged:
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.convert(json.loads(line), Logged)


def _unwritable(folder: Path, why: str | None) -> EnvironmentFault:
    return EnvironmentFault(
        f"prediction log: cannot write to {folder}: {why}",
        hint="set serving.prediction_log.folder, or serving.prediction_log.enabled to false",
    )
