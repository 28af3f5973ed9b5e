"""Requests for predictions from rows, and predictions from responses."""

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
from ml_pipeline.traffic.open_loop import ConnectionPool, Endpoint, TimedResponse

OK = 200


@dataclass(frozen=True)
class PredictionResponse:
    """The predictions of one request, one for each row, or the error.

    ``missing``: there was no response at all; ``ms`` is the latency in milliseconds.
    """

    predictions: tuple[Value, ...] = ()
    ms: float = math.nan
    error: str = ""
    missing: bool = False


@dataclass(frozen=True)
class RequestStream:
    """Requests to one server: bodies, request ids (optional) and their scheduled times."""

    url: str
    token: str | None
    bodies: Sequence[bytes]
    due: Sequence[float]
    ids: Sequence[str] = ()


def request_bodies(
    rows: Sequence[Sequence[Any]], count: int, size: int = 1, contract: str | None = None
) -> list[bytes]:
    """Return ``count`` bodies of ``size`` rows each, repeating the rows as needed.

    ``contract`` is the digest of the request contract that each body contains, if any.
    """
    contract_key = {} if contract is None else {"contract": contract}
    bodies = []
    for index in range(count):
        chosen = [rows[(index * size + offset) % len(rows)] for offset in range(size)]
        values = {"features": chosen[0] if size == 1 else chosen}
        bodies.append(json.dumps(values | contract_key).encode())
    return bodies


def send_streams(
    streams: Sequence[RequestStream], timeout: float = open_loop.TIMEOUT
) -> list[list[TimedResponse]]:
    """Send all streams concurrently, each at its own times; return their responses."""
    import uvloop

    async def send_all() -> list[list[TimedResponse]]:
        sending = []
        for stream in streams:
            endpoint = Endpoint.of(stream.url, stream.token)
            ids = stream.ids or [""] * len(stream.bodies)
            requests = [endpoint.request(*pair) for pair in zip(stream.bodies, ids, strict=True)]
            sending.append(
                open_loop.send(ConnectionPool(endpoint, timeout=timeout), requests, stream.due)
            )
        return await asyncio.gather(*sending)

    with _undisturbed(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(send_all())


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Disable the garbage collector, so that it does not pause the client."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def parse_response(
    response: TimedResponse, version: int | None, task: Task = BINARY
) -> PredictionResponse:
    """Parse a response of ``POST /predict``.

    It is an error unless it is a 200 with valid predictions of the task by ``version``.
    """
    ms = response.latency * 1000
    if response.status == 0:
        return PredictionResponse(ms=ms, error=response.error or "no answer", missing=True)
    if response.status != OK:
        return PredictionResponse(ms=ms, error=f"status {response.status}")
    try:
        predictions = parse_predictions(response.body, task)
    except ValueError as error:
        return PredictionResponse(ms=ms, error=str(error))
    other_versions = {served for _, served in predictions} - {version}
    if other_versions:
        return PredictionResponse(ms=ms, error=f"answered as version {next(iter(other_versions))}")
    return PredictionResponse(tuple(value for value, _ in predictions), ms)


def parse_predictions(body: bytes, task: Task = BINARY) -> list[tuple[Value, Any]]:
    """Return prediction and version of each row of a response body.

    Raises:
        ValueError: it is not a valid response of the task.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the answer is not JSON") from None
    rows = content if isinstance(content, list) else [content]
    predictions = []
    for row in rows:
        response = row if isinstance(row, dict) else {}
        predictions.append((task.read(response), response.get("model_version")))
    if not predictions:
        raise ValueError("the answer is empty")
    return predictions
