"""Rows as requests, and answers as predictions."""

from __future__ import annotations

import asyncio
import gc
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ml_pipeline.tasks.base import Task, Value
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.traffic import open_loop
from ml_pipeline.traffic.open_loop import Answer, Client, Place

OK = 200


@dataclass(frozen=True)
class Reply:
    """What one request was answered: a prediction a row, or why not.

    ``missing`` tells no answer from a wrong one; ``ms`` is the latency in milliseconds.
    """

    predictions: tuple[Value, ...] = ()
    ms: float = math.nan
    error: str = ""
    missing: bool = False


@dataclass(frozen=True)
class Stream:
    """Requests to one server: bodies, ids (or none) and the moments at which they are due."""

    url: str
    token: str | None
    bodies: Sequence[bytes]
    due: Sequence[float]
    ids: Sequence[str] = ()


def bodies(
    rows: Sequence[Sequence[Any]], count: int, size: int = 1, contract: str | None = None
) -> list[bytes]:
    """Return ``count`` bodies of ``size`` rows each; the rows are taken again from the start.

    ``contract`` is the digest that each of them gives; None gives none.
    """
    more = {} if contract is None else {"contract": contract}
    made = []
    for index in range(count):
        taken = [rows[(index * size + offset) % len(rows)] for offset in range(size)]
        values = {"features": taken[0] if size == 1 else taken}
        made.append(json.dumps(values | more).encode())
    return made


def play(streams: Sequence[Stream], timeout: float = open_loop.TIMEOUT) -> list[list[Answer]]:
    """Send all streams at once, each at its own moments; return their answers."""
    import uvloop

    async def every() -> list[list[Answer]]:
        sent = []
        for stream in streams:
            place = Place.of(stream.url, stream.token)
            ids = stream.ids or [""] * len(stream.bodies)
            requests = [place.request(*item) for item in zip(stream.bodies, ids, strict=True)]
            sent.append(open_loop.send(Client(place, timeout=timeout), requests, stream.due))
        return await asyncio.gather(*sent)

    with _undisturbed(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(every())


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep the garbage collector from pausing the client."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def reply(answer: Answer, version: int | None, task: Task = BINARY) -> Reply:
    """Read an answer of ``POST /predict``; another version than the one that was asked is an error.

    Everything that is no 200 with valid predictions of the task is one.
    """
    ms = answer.latency * 1000
    if answer.status == 0:
        return Reply(ms=ms, error=answer.error or "no answer", missing=True)
    if answer.status != OK:
        return Reply(ms=ms, error=f"status {answer.status}")
    try:
        found = read(answer.body, task)
    except ValueError as error:
        return Reply(ms=ms, error=str(error))
    others = {told for _, told in found} - {version}
    if others:
        return Reply(ms=ms, error=f"answered as version {next(iter(others))}")
    return Reply(tuple(value for value, _ in found), ms)


def read(body: bytes, task: Task = BINARY) -> list[tuple[Value, Any]]:
    """Return prediction and version of each row of an answer.

    Raises:
        ValueError: it is no answer of the task.
    """
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the answer is not JSON") from None
    rows = told if isinstance(told, list) else [told]
    found = []
    for row in rows:
        answer = row if isinstance(row, dict) else {}
        found.append((task.read(answer), answer.get("model_version")))
    if not found:
        raise ValueError("the answer is empty")
    return found
