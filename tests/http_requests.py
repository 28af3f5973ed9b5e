"""A client that goes on asking a server while something is done to it, as many clients would."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from ml_pipeline.traffic.open_loop import Client, Place

PATIENCE = 120.0


@dataclass(frozen=True)
class Asked:
    """A request and its answer. ``at`` is when it was due, on ``time.monotonic``'s clock."""

    at: float
    status: int
    version: int | None
    probability: float | None
    error: str


@dataclass
class RequestLoop:
    """Asks ``rate`` times a second, whether or not earlier requests were answered."""

    url: str
    features: Sequence[Any]
    rate: float = 50.0
    answers: list[Asked] = field(default_factory=list)

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

    def next(self) -> Asked:
        """Return the answer to a request that is sent from now on."""
        now, end = time.monotonic(), time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for asked in reversed(self.answers):
                if asked.at > now:
                    return asked
            time.sleep(0.02)
        raise AssertionError(f"{self.url} does not answer")

    def turned(self, version: int, since: float) -> float:
        """Return when the version answered first among the requests after ``since``."""
        return min(one.at for one in self.answers if one.version == version and one.at > since)

    @property
    def failed(self) -> list[Asked]:
        return [asked for asked in self.answers if asked.status != 200]

    @property
    def turns(self) -> list[int | None]:
        """The versions that answered, in the order of the requests, each turn once."""
        turns: list[int | None] = []
        for asked in sorted(self.answers, key=lambda asked: asked.at):
            if not turns or turns[-1] != asked.version:
                turns.append(asked.version)
        return turns

    async def _run(self) -> None:
        place = Place.of(self.url)
        client = Client(place)
        request = place.request(json.dumps({"features": list(self.features)}).encode())
        start, sent = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while not self._ended.is_set():
                due = start + sent / self.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(self._ask(client, request, due))
                sent += 1
        client.close()

    async def _ask(self, client: Client, request: bytes, due: float) -> None:
        status, body, error = await client.ask(request)
        told = json.loads(body) if status == 200 else {}
        version, probability = told.get("model_version"), told.get("probability")
        self.answers.append(Asked(due, status, version, probability, error))
