"""The prediction log: requests and predictions as JSON lines in rotated files.

The first line of a file names the model (``LoggedModel``); each further line is a request
(``LoggedRequest``). Every server process writes its own files, named by their creation time. A file
is never changed after the next one was created; the oldest files are removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

from ml_pipeline.core.errors import EnvironmentFault, Refused
from ml_pipeline.serving import log_retention
from ml_pipeline.serving.log_retention import Retention

UNSET = msgspec.UNSET
"""Value of a key that a request's task does not have."""
SCHEMA = "ml-pipeline/predictions/1"
SUFFIX = ".jsonl"
TIME_FORMAT = "%Y%m%dT%H%M%S.%fZ"
TIME_PREFIX = re.compile(r"\d{8}T\d{6}\.\d{6}Z-")
"""Prefix of a file name: its creation time as ``TIME_FORMAT``."""
MICROSECOND = timedelta(microseconds=1)
FLUSH_SECONDS = 0.1
"""Time after which an answered request is written, unless the disk is slow."""
MAX_PENDING = 16 << 20
"""Bytes that wait for the disk; further requests are dropped and counted."""
END_SECONDS = 10.0
PROBE = "ml-pipeline-probe"
"""Request id of probes: the requests of deploy, promote, verify and load-test."""

logger = logging.getLogger("ml_pipeline.serving")


class LoggedModel(msgspec.Struct, frozen=True, tag_field="schema", tag=SCHEMA, omit_defaults=True):
    """The first line of a file: the model that answered the requests."""

    model: str
    model_version: int | None
    digest: str
    features: list[str]
    """Of the rows; without those in ``omitted``."""
    hashed: list[str] = []
    """Those of them whose values are hashed."""
    omitted: list[str] = []
    """Features of the model that are left out of the log."""


class LoggedRequest(msgspec.Struct, frozen=True, gc=False):
    """An answered request."""

    request_id: str
    time: float
    """Time of the response, in seconds since the epoch."""
    model_version: int | None
    features: list[list[Any]]
    """Its rows as sent, in the order of the file's features; None is missing.

    A row that ``ml-pipeline forget`` removed is empty.
    """
    probability: list[float] | msgspec.UnsetType = msgspec.UNSET
    """Binary classification: the probability of class 1 for each row."""
    prediction: list[float] | msgspec.UnsetType = msgspec.UNSET
    """Regression: the predicted number for each row."""
    probabilities: list[list[float]] | msgspec.UnsetType = msgspec.UNSET
    """Multi-class classification: for each row a list with the probability of each class."""

    @property
    def is_probe(self) -> bool:
        """Whether it is a probe: a request of deploy, promote, verify or load-test."""
        return self.request_id == PROBE

    @property
    def predictions(self) -> list[Any] | None:
        """The prediction for each row, of whatever task."""
        for values in (self.probability, self.prediction, self.probabilities):
            if values is not msgspec.UNSET:
                return values
        return None


@dataclass(frozen=True)
class Rotation:
    """Rotation of the files, and what is removed: see ``Retention``.

    A file has about ``max_bytes`` bytes, and the requests of a day at most if ``keep_days`` is set.
    """

    folder: Path
    max_bytes: int = 64 << 20
    keep: int = 16
    keep_days: float | None = None
    total_bytes: int | None = None

    @property
    def retention(self) -> Retention:
        return Retention(self.keep, self.keep_days, self.total_bytes)


class PredictionLog:
    """Accepts requests on the event loop and writes them in a thread.

    ``add`` never blocks. If the disk is full or too slow, entries are dropped and counted;
    responses are not affected.

    ``redact`` returns redacted copies of the rows of a request; None: they are logged as sent.

    Raises:
        EnvironmentFault: the folder cannot be written.
    """

    def __init__(
        self,
        rotation: Rotation,
        model: LoggedModel,
        key: Literal["probability", "prediction", "probabilities"] = "probability",
        redact: Callable[[list[Any]], list[list[Any]]] | None = None,
    ) -> None:
        self._key = key
        self._redact = redact
        try:
            rotation.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _not_writable(rotation.folder, error.strerror) from None
        if not os.access(rotation.folder, os.W_OK | os.X_OK):
            raise _not_writable(rotation.folder, "no permission")
        self.written = 0
        self._dropped_in_memory = self._dropped_by_disk = 0
        self._model = model
        self._files = _RotatedFiles(rotation, model)
        self._lines: list[bytes] = []
        self._queued_bytes = self._processed_bytes = 0
        self._batches: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._scheduled = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Requests that were not written."""
        return self._dropped_in_memory + self._dropped_by_disk

    def add(self, request_id: str, rows: list[Any], predictions: list[Any]) -> None:
        """Log a request; called on the event loop, after the response was sent."""
        if self._queued_bytes - self._processed_bytes > MAX_PENDING:
            self._dropped_in_memory += 1
            return
        if self._redact is not None:
            rows = self._redact(rows)
        version = self._model.model_version
        entry = LoggedRequest(request_id, time.time(), version, rows, **{self._key: predictions})
        line = _line(entry)
        self._queued_bytes += len(line)
        self._lines.append(line)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def close(self) -> None:
        """Write pending entries and end the thread."""
        self._flush()
        self._batches.put(None)
        self._thread.join(END_SECONDS)

    def _flush(self) -> None:
        self._scheduled = False
        self._batches.put(self._lines)
        self._lines = []

    def _run(self) -> None:
        for batch in iter(self._batches.get, None):
            content = b"".join(batch)
            if len(content) <= self._files.room:
                self._write(batch, content)
            else:
                self._write_in_parts(batch)
            self._processed_bytes += len(content)
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
            self._dropped_by_disk += len(lines)
            logger.error("prediction log: %s; %d requests are lost", error.strerror, len(lines))  # noqa: TRY400  # no traceback: an error of the disk


class _RotatedFiles:
    """Writes the current file, and removes the oldest ones."""

    def __init__(self, rotation: Rotation, model: LoggedModel) -> None:
        self._rotation = rotation
        self._header = msgspec.json.encode(model) + b"\n"
        self._file: int | None = None
        self._size = 0
        self._begun = 0.0

    @property
    def room(self) -> int:
        """Bytes that fit into the current file, or into the next one if it is full."""
        remaining = self._rotation.max_bytes - self._size if self._file is not None else 0
        return remaining if remaining > 0 else self._rotation.max_bytes - len(self._header)

    def write(self, content: bytes) -> None:
        """Append whole lines; start the next file if this one is full.

        Raises:
            OSError: they cannot be written. A partially written line ends its file.
        """
        if self._file is not None and (
            self._size + len(content) > self._rotation.max_bytes or self._is_old()
        ):
            self.finish()
        try:
            if self._file is None or not self._append_unless_replaced(self._file, content):
                self.finish()
                self._append_unless_replaced(self._begin(), content)
        except OSError:
            self.finish()
            raise

    def _is_old(self) -> bool:
        return (
            self._rotation.keep_days is not None
            and time.monotonic() - self._begun >= log_retention.DAY_SECONDS
        )

    def _append_unless_replaced(self, file: int, content: bytes) -> bool:
        """Append to the current file, and return whether it still has its name.

        ``ml-pipeline forget`` replaces a file while it holds the lock on it.
        """
        with contextlib.suppress(OSError):  # a file system without locks, where forget fails
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            if os.fstat(file).st_nlink == 0:
                return False
            self._append(content)
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)
        return True

    def finish(self) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            os.fsync(self._file)
        os.close(self._file)
        self._file = None

    def _begin(self) -> int:
        rotation = self._rotation
        existing = files(rotation.folder)
        now = datetime.now(UTC)
        name = f"{_next_time_prefix(existing, now)}-{secrets.token_hex(3)}{SUFFIX}"
        log_retention.remove_expired(
            existing, rotation.retention, now=now.timestamp(), new=1, new_bytes=rotation.max_bytes
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(rotation.folder / name, flags, 0o600)
        self._size = 0
        self._begun = time.monotonic()
        self._append(self._header)
        return self._file

    def _append(self, content: bytes) -> None:
        remaining = memoryview(content)
        while remaining and self._file is not None:
            count = os.write(self._file, remaining)
            self._size += count
            remaining = remaining[count:]


def _next_time_prefix(existing: Sequence[Path], now: datetime) -> str:
    """Return a time prefix that sorts after those of all files.

    So the newest file is not removed as the oldest one after the clock was set back.
    """
    last = max((path.name for path in existing if TIME_PREFIX.match(path.name)), default="")
    name = now.strftime(TIME_FORMAT)
    if name > last:
        return name
    newest = datetime.strptime(last[: len(name)], TIME_FORMAT).replace(tzinfo=UTC)
    return (newest + MICROSECOND).strftime(TIME_FORMAT)


def files(folder: Path) -> list[Path]:
    """Return the files of a prediction log in the order of their creation."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def read(
    folder: Path, since: datetime | None = None
) -> Iterator[tuple[LoggedModel, LoggedRequest]]:
    """Yield the requests of a prediction log, each with the model that answered it.

    Files are read in order; those of two processes that served at the same time may overlap in
    time. An incomplete last line is ignored.

    Args:
        folder: of the log; it need not exist.
        since: only requests answered at this time or later; with a time zone.

    Raises:
        Refused: a line is not of a prediction log.
    """
    start = 0.0 if since is None else since.timestamp()
    for path in files(folder):
        try:
            if path.stat().st_mtime >= start:
                for model, request in _entries(path):
                    if request.time >= start:
                        yield model, request
        except FileNotFoundError:
            continue  # removed by the rotation


def read_model(path: Path) -> LoggedModel | None:
    """Return the model of a file; None if its first line is not finished or the file is gone.

    Raises:
        Refused: the line does not name a model.
    """
    try:
        with path.open("rb") as stream:
            line = stream.readline()
    except FileNotFoundError:
        return None
    if not line.endswith(b"\n"):
        return None
    try:
        return decode_model(line)
    except (ValueError, TypeError, RecursionError):
        raise _not_a_line(path, 1) from None


def read_file(path: Path) -> tuple[LoggedModel, Iterator[LoggedRequest]]:
    """Return the model of a file, and its requests.

    Raises:
        Refused: the file does not name its model, or (while iterating) a line is no request.
    """
    model = read_model(path)
    if model is None:
        raise _not_a_line(path, 1)
    return model, (request for _, request in _entries(path))


def _not_a_line(path: Path, number: int) -> Refused:
    return Refused(
        f"{path}, line {number} is not a line of a prediction log",
        expected=f"a file of the schema {SCHEMA}",
    )


def _entries(path: Path) -> Iterator[tuple[LoggedModel, LoggedRequest]]:
    model: LoggedModel | None = None
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                return
            try:
                if model is None:
                    model = decode_model(line)
                else:
                    yield model, decode_request(line)
            except (ValueError, TypeError, RecursionError):
                raise _not_a_line(path, number) from None


decode_model = msgspec.json.Decoder(LoggedModel).decode
_fast_decode = msgspec.json.Decoder(LoggedRequest).decode
_encode = msgspec.json.Encoder().encode


def _line(entry: LoggedRequest) -> bytes:
    try:
        return _encode(entry) + b"\n"
    except (ValueError, OverflowError):  # an integer over 64 bits, or a lone surrogate
        values = msgspec.structs.asdict(entry)
        present = {key: value for key, value in values.items() if value is not msgspec.UNSET}
        return json.dumps(present).encode() + b"\n"


def decode_request(line: bytes) -> LoggedRequest:
    """Return the request of a line.

    Raises:
        ValueError, TypeError, RecursionError: it is none.
    """
    try:
        return _fast_decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.convert(json.loads(line), LoggedRequest)


def _not_writable(folder: Path, why: str | None) -> EnvironmentFault:
    return EnvironmentFault(
        f"prediction log: cannot write to {folder}: {why}",
        hint="set serving.prediction_log.folder, or serving.prediction_log.enabled to false",
    )
