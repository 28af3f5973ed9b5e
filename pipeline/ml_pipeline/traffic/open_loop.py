"""Sends requests at the times of a schedule, whether or not earlier ones were answered.

A client that waits for a response before the next request sends less while the server is slow, and
so omits the waiting that real clients would have had: Gil Tene's coordinated omission. Here each
request has a scheduled time, and its latency counts from that time, as in wrk2
(https://github.com/giltene/wrk2). A request that finds no free connection waits for one, which is
part of its latency.

HTTP/1.1 by httptools over asyncio; docs/reference/load-test.md compares it with other clients.
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
class TimedResponse:
    """The response to one request; times in seconds since the start of the schedule.

    ``lag`` is the delay of the client itself. Without a complete response ``status`` is 0 and
    ``error`` gives the reason.
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
class Endpoint:
    """The address of an API, and the request line and headers that its requests share."""

    host: str
    port: int
    secure: bool
    head: bytes

    @classmethod
    def of(cls, url: str, token: str | None = None, path: str = "/predict") -> Endpoint:
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
        """Return the bytes of a request; ``request_id`` is sent as ``x-request-id``."""
        named = f"x-request-id: {request_id}\r\n" if request_id else ""
        return b"%s%scontent-length: %d\r\n\r\n%s" % (self.head, named.encode(), len(body), body)


class NoResponseError(Exception):
    """The connection broke, or the response is not valid HTTP."""

    def __init__(self, reason: str, *, response_started: bool) -> None:
        super().__init__(reason)
        self.response_started = response_started


class HttpConnection(asyncio.Protocol):
    """A connection with at most one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._response_started = False
        self.used = False
        self.open = True

    async def request(self, request: bytes) -> tuple[int, bytes]:
        """Return status and body of the response.

        Raises:
            NoResponseError: there is no complete response.
        """
        if self._transport is None or not self.open:
            raise NoResponseError("the connection was closed", response_started=False)
        self._waiting = asyncio.get_running_loop().create_future()
        self._body, self._response_started = [], False
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
        self._response_started = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"invalid HTTP: {error}")

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

    def _fail(self, reason: str) -> None:
        self.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(
                NoResponseError(reason, response_started=self._response_started)
            )


class ConnectionPool:
    """A pool of connections to one endpoint; the most recently used one is used first."""

    def __init__(
        self, endpoint: Endpoint, *, connections: int = CONNECTIONS, timeout: float = TIMEOUT
    ) -> None:
        self._endpoint = endpoint
        self._free: list[HttpConnection] = []
        self._slots = asyncio.Semaphore(connections)
        self._timeout = timeout
        self._ssl = ssl.create_default_context() if endpoint.secure else None

    async def request(self, request: bytes) -> tuple[int, bytes, str]:
        """Return status, body and error of a request; status 0 without a response."""
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                status, body = await self._request(request)
        except TimeoutError:
            return 0, b"", f"no answer within {self._timeout:g} s"
        except (NoResponseError, OSError) as error:
            return 0, b"", str(error) or type(error).__name__
        return status, body, ""

    async def _request(self, request: bytes) -> tuple[int, bytes]:
        while True:
            connection = await self._connection()
            reused = connection.used
            try:
                response = await connection.request(request)
            except NoResponseError as error:
                if reused and not error.response_started:
                    continue  # the server had closed the idle connection: use another one
                raise
            except asyncio.CancelledError:
                connection.close()
                raise
            if connection.open:
                self._free.append(connection)
            return response

    async def _connection(self) -> HttpConnection:
        while self._free:
            connection = self._free.pop()
            if connection.open:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            HttpConnection, self._endpoint.host, self._endpoint.port, ssl=self._ssl
        )
        return connection

    def close(self) -> None:
        for connection in self._free:
            connection.close()


async def send(
    client: ConnectionPool, requests: Sequence[bytes], due: Sequence[float]
) -> list[TimedResponse]:
    """Send each request at its time; return the responses in the order of the requests.

    Args:
        client: connections to the server.
        requests: complete HTTP requests.
        due: time of each request in seconds from now, ascending.
    """
    clock = time.perf_counter  # the loop's clock has a resolution of milliseconds
    responses = [TimedResponse(moment) for moment in due]
    start = clock()

    async def send_one(response: TimedResponse, request: bytes) -> None:
        response.lag = clock() - start - response.due
        response.status, response.body, response.error = await client.request(request)
        response.done = clock() - start

    async with asyncio.TaskGroup() as group:
        for response, request in zip(responses, requests, strict=True):
            wait = start + response.due - clock()
            if wait > 0:
                await asyncio.sleep(wait)
            group.create_task(send_one(response, request))
    client.close()
    return responses


def constant_rate(rate: float, seconds: float) -> list[float]:
    """Return the times of ``rate`` requests a second for ``seconds``, at equal intervals."""
    return [index / rate for index in range(max(1, round(rate * seconds)))]
