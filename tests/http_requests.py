"""A client that sends requests to a server at a constant rate while a test acts on the server."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from ml_pipeline.traffic.open_loop import ConnectionPool, Endpoint

PATIENCE = 120.0


@dataclass(frozen=True)
class TimedRequest:
    """A request and its response. ``at`` is when it was due, on ``time.monotonic``'s clock."""

    at: float
    status: int
    version: int | None
    probability: float | None
    error: str


@dataclass
class RequestLoop:
    """Sends ``rate`` requests a second, whether or not earlier requests were answered."""

    url: str
    features: Sequence[Any]
    rate: float = 50.0
    answers: list[TimedRequest] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def next(self) -> TimedRequest:
        """Return the response to a request that is sent after this call."""
        now, end = time.monotonic(), time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for request in reversed(self.answers):
                if request.at > now:
                    return request
            time.sleep(0.02)
        raise AssertionError(f"{self.url} does not answer")

    def first_response(self, version: int, since: float) -> float:
        """Return the time of the first request after ``since`` that ``version`` answered."""
        return min(each.at for each in self.answers if each.version == version and each.at > since)

    @property
    def failed(self) -> list[TimedRequest]:
        return [request for request in self.answers if request.status != 200]

    @property
    def versions(self) -> list[int | None]:
        """The versions that answered, in the order of the requests, without repetitions."""
        versions: list[int | None] = []
        for request in sorted(self.answers, key=lambda request: request.at):
            if not versions or versions[-1] != request.version:
                versions.append(request.version)
        return versions

    async def _run(self) -> None:
        endpoint = Endpoint.of(self.url)
        client = ConnectionPool(endpoint)
        request = endpoint.request(json.dumps({"features": list(self.features)}).encode())
        start, sent = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while not self._ended.is_set():
                due = start + sent / self.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(self._send(client, request, due))
                sent += 1
        client.close()

    async def _send(self, client: ConnectionPool, request: bytes, due: float) -> None:
        status, body, error = await client.request(request)
        content = json.loads(body) if status == 200 else {}
        version, probability = content.get("model_version"), content.get("probability")
        self.answers.append(TimedRequest(due, status, version, probability, error))
