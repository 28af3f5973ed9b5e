"""Sends requests at the times of a schedule, whether or not the earlier ones were answered.

A client that waits for an answer before it sends the next request sends less while the server is
slow, and so leaves out the very waiting that real clients would have had: Gil Tene's coordinated
omission. Here each request has a moment at which it is due, and its latency counts from that
moment, as in wrk2 (https://github.com/giltene/wrk2). Requests that find no free connection wait
for one, which is part of their latency.

HTTP/1.1 by httptools over asyncio. docs/reference/load-test.md tells what it was chosen against.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

TIMEOUT = 10.0
CONNECTIONS = 128


@dataclass(slots=True)
class Answer:
    """One request and what came of it; times in seconds since the schedule began.

    ``lag`` is how late the client itself was; ``status`` is 0 and ``error`` says why where no whole
    answer came.
    """

    due: float
    lag: float = 0.0
    done: float = 0.0
    status: int = 0
    body: bytes = b""
    error: str = ""

    @property
    def latency(self) -> float:
        return self.done - self.due


@dataclass(frozen=True)
class Place:
    """Where requests go: the parts of an API's address, and the head that they share."""

    host: str
    port: int
    secure: bool
    head: bytes

    @classmethod
    def of(cls, url: str, token: str | None = None, path: str = "/predict") -> Place:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        host = parts.hostname or ""
        authorization = f"authorization: Bearer {token}\r\n" if token else ""
        head = (
            f"POST {parts.path.rstrip('/')}{path} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
            f"content-type: application/json\r\n{authorization}"
        )
        return cls(host, parts.port or (443 if secure else 80), secure, head.encode())

    def request(self, body: bytes, request_id: str = "") -> bytes:
        """Return the bytes of a request; ``request_id`` goes along as ``x-request-id``."""
        named = f"x-request-id: {request_id}\r\n" if request_id else ""
        return b"%s%scontent-length: %d\r\n\r\n%s" % (self.head, named.encode(), len(body), body)


class NoAnswerError(Exception):
    """The connection broke, or what came is no HTTP."""

    def __init__(self, why: str, *, began: bool) -> None:
        super().__init__(why)
        self.began = began


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._began = False
        self.used = False
        self.open = True

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer.

        Raises:
            NoAnswerError: there is none.
        """
        if self._transport is None or not self.open:
            raise NoAnswerError("the connection was closed", began=False)
        self._waiting = asyncio.get_running_loop().create_future()
        self._body, self._began = [], False
        self._transport.write(request)
        try:
            return await self._waiting
        finally:
            self._waiting, self.used = None, True

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._began = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"no HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(str(exc) if exc else "the server closed the connection")

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        if not self._parser.should_keep_alive():
            self.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result((status, b"".join(self._body)))

    def _fail(self, why: str) -> None:
        self.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(NoAnswerError(why, began=self._began))


class Client:
    """A pool of connections to one place; the one that was free last is used first."""

    def __init__(
        self, place: Place, *, connections: int = CONNECTIONS, timeout: float = TIMEOUT
    ) -> None:
        self._place = place
        self._free: list[Connection] = []
        self._slots = asyncio.Semaphore(connections)
        self._timeout = timeout
        self._ssl = ssl.create_default_context() if place.secure else None

    async def ask(self, request: bytes) -> tuple[int, bytes, str]:
        """Return status, body and error of a request; status 0 where no answer came."""
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                status, body = await self._ask(request)
        except TimeoutError:
            return 0, b"", f"no answer within {self._timeout:g} s"
        except (NoAnswerError, OSError) as error:
            return 0, b"", str(error) or type(error).__name__
        return status, body, ""

    async def _ask(self, request: bytes) -> tuple[int, bytes]:
        while True:
            connection = await self._connection()
            reused = connection.used
            try:
                answer = await connection.ask(request)
            except NoAnswerError as error:
                if reused and not error.began:
                    continue  # the server had ended the idle connection: another one, or a new one
                raise
            except asyncio.CancelledError:
                connection.close()
                raise
            if connection.open:
                self._free.append(connection)
            return answer

    async def _connection(self) -> Connection:
        while self._free:
            connection = self._free.pop()
            if connection.open:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            Connection, self._place.host, self._place.port, ssl=self._ssl
        )
        return connection

    def close(self) -> None:
        for connection in self._free:
            connection.close()


async def send(client: Client, requests: Sequence[bytes], due: Sequence[float]) -> list[Answer]:
    """Send each request at its moment; return one answer a request, in their order.

    Args:
        client: where to.
        requests: whole HTTP requests.
        due: seconds from now, rising, one a request.
    """
    clock = time.perf_counter  # the loop's own counts in milliseconds
    answers = [Answer(moment) for moment in due]
    start = clock()

    async def one(answer: Answer, request: bytes) -> None:
        answer.lag = clock() - start - answer.due
        answer.status, answer.body, answer.error = await client.ask(request)
        answer.done = clock() - start

    async with asyncio.TaskGroup() as group:
        for answer, request in zip(answers, requests, strict=True):
            wait = start + answer.due - clock()
            if wait > 0:
                await asyncio.sleep(wait)
            group.create_task(one(answer, request))
    client.close()
    return answers


def evenly(rate: float, seconds: float) -> list[float]:
    """Return the moments of a constant arrival of ``rate`` a second, for ``seconds``."""
    return [index / rate for index in range(max(1, round(rate * seconds)))]
