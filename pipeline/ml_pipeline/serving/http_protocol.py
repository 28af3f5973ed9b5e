"""uvicorn's httptools protocol with bounds on each request, and a fast path for predictions.

The work of uvicorn between a request and its application (a scope, a cycle, a task, two messages)
takes longer than a fast model. So an ordinary request for predictions that arrived completely is
answered without it, by one write: in the loop's next iteration, batched with requests of other
connections. All other requests are processed by uvicorn as usual.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ml_pipeline.serving.request_checks import BODY_TIMED_OUT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml_pipeline.serving.app import HttpResponse, PredictionEndpoint

MAX_HEADER_BYTES = 64 << 10
"""Bytes of a request line and headers, checked after each read of the socket."""
HEADER_SECONDS = 10.0
"""Time for the headers to arrive."""
BODY_SECONDS = 10.0
"""Time for a body to arrive, after its headers."""
BODY_TIMEOUT_RESPONSE = b'{"error":"the body did not arrive in time"}'
MAX_QUEUED = 32
"""Queued requests of one connection, beyond which its input is not parsed."""
SLICE = 4 << 10
"""Bytes that are parsed before the length of the queue is checked again."""
WRITE_SECONDS = 30.0
"""Time for a client to read its responses, once the transport's buffer is full."""


class QueueAwareFlow(FlowControl):
    """Keeps reading paused while requests of the connection are queued or unparsed.

    uvicorn resumes reading after each response, so a client that sends faster than it is answered
    would fill the memory.
    """

    def __init__(self, transport: asyncio.Transport, protocol: BoundedProtocol) -> None:
        super().__init__(transport)
        self._protocol = protocol

    def resume_reading(self) -> None:
        if not self._protocol.has_backlog:
            super().resume_reading()


class BoundedProtocol(HttpToolsProtocol):
    """Bounds the headers, the time and the queue of a connection.

    A connection is closed if its request's headers are too long or late. A late body is answered
    with 408 here, where only requests that wait for a body pay for a timer. Pipelined requests are
    queued up to ``MAX_QUEUED``; a client that does not read its responses is disconnected after
    ``WRITE_SECONDS``.

    The application's ``fast_path``, if it has one, maps paths to the endpoints of the fast path.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_headers = True
        self._header_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._fast_path: Mapping[bytes, PredictionEndpoint] = getattr(self.app, "fast_path", {})
        self._endpoint: PredictionEndpoint | None = None
        """Endpoint of the request that is being parsed and was not passed to uvicorn yet."""
        self._body = b""
        self._pending: PredictionEndpoint | None = None
        """Endpoint that answers the last request in the loop's next iteration."""
        self._parse_error: str | None = None
        """Parse error in the input after a request that is not answered yet."""
        self._idle_since = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._unparsed = b""
        """Input that arrived while the queue of requests was full."""
        self._write_timer: asyncio.TimerHandle | None = None

    @property
    def has_backlog(self) -> bool:
        """Whether requests of this connection are queued, or input is not parsed yet."""
        return bool(self.pipeline or self._unparsed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self.flow = QueueAwareFlow(self.transport, self)
        self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def data_received(self, data: bytes) -> None:
        self._flush_pending()
        if self._unparsed:
            self._unparsed += data
        else:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        """Parse ``data``, as far as the queue has room for its requests."""
        if len(data) <= SLICE:
            super().data_received(data)
        else:
            data = self._feed_slices(data)
        if self._endpoint is not None:
            self._hand_to_uvicorn()
        if self._unparsed:
            self._stop_timer()
            return
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's headers are too long.")
            if self._timer is None:
                self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)
        else:
            self._header_bytes = 0
            if self._timer is None and self.cycle is not None and self.cycle.more_body:
                self._timer = self.loop.call_later(BODY_SECONDS, self._time_out_body)

    def _feed_slices(self, data: bytes) -> bytes:
        """Parse slices until the queue is full, and keep the rest; return what was parsed."""
        for start in range(0, len(data), SLICE):
            if self.transport.is_closing() or self._parse_error is not None:
                break
            if len(self.pipeline) >= MAX_QUEUED:
                self._unparsed = data[start:]
                self.flow.pause_reading()
                return data[:start]
            super().data_received(data[start : start + SLICE])
        return data

    def _feed_unparsed(self) -> None:
        if self.pipeline or self.transport.is_closing():
            return  # the response to the last queued request schedules this again
        data, self._unparsed = self._unparsed, b""
        self._feed(data)
        self.flow.resume_reading()

    def on_message_begin(self) -> None:
        self._flush_pending()
        self._in_headers = True
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_headers:
            return  # trailers of a chunked body are ignored
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._stop_timer()
        endpoint = self._fast_path.get(self.url)
        if endpoint is not None and self._is_fast():
            self._endpoint, self._body = endpoint, b""
        else:
            self._start_in_uvicorn()

    def on_body(self, body: bytes) -> None:
        if self._endpoint is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        self._stop_timer()
        if self._endpoint is not None:
            self._pending = self._endpoint
            if self._endpoint.fast_path(self.headers, self._body, self._send):
                self._endpoint = None
                return
            self._pending = None
            self._hand_to_uvicorn()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP, after the requests before it."""
        self._flush_pending()
        if not self._uvicorn_is_busy() or (self.cycle.more_body and not self.pipeline):
            super().send_400_response(msg)
            return
        if self.cycle.more_body:  # the error is in its own body, and it waits for others
            self.pipeline.popleft()[0].response_complete = True
        self._parse_error = msg
        self.flow.pause_reading()

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if is_last and self._parse_error is not None:
            super().send_400_response(self._parse_error)
        elif self.pipeline:
            return
        elif self._unparsed:
            self.loop.call_soon(self._feed_unparsed)
        else:
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_timer()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def eof_received(self) -> None:
        self._flush_pending()

    def shutdown(self) -> None:
        """Close the connection after its pending responses."""
        self._flush_pending()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)
        self._stop_write_timer()
        self.pipeline.clear()
        self._unparsed = b""

    def _is_fast(self) -> bool:
        """Whether the headers permit the fast path."""
        parser, limit = self.parser, self.limit_concurrency
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and not self._uvicorn_is_busy()
            and not self.flow.write_paused
            and not self.transport.is_closing()
            and (limit is None or max(len(self.connections), len(self.tasks)) < limit)
        )

    def _flush_pending(self) -> None:
        """Answer the last request now, before anything else happens on the connection."""
        if self._pending is not None:
            self._pending.flush()

    def _send(self, response: HttpResponse) -> None:
        self._pending = None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        fields = map(b": ".join, [*self.server_state.default_headers, *response.fields])
        head = STATUS_LINE[response.status] + b"\r\n".join(fields)
        self.transport.write(head + b"\r\n\r\n" + response.body)
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._start_idle_timer(self.timeout_keep_alive)

    def _start_idle_timer(self, seconds: float) -> None:
        self._idle_timer = self.loop.call_later(seconds, self._close_if_idle)

    def _close_if_idle(self) -> None:
        """Close the connection if it has been idle for the keep-alive time.

        There is one timer for each connection: uvicorn's timer for each request costs as much as
        parsing the request.
        """
        # a request of this iteration; the timer is still set, so no other is started
        self._flush_pending()
        self._idle_timer = None
        if self._in_headers or self._uvicorn_is_busy() or self.timeout_keep_alive_task is not None:
            return  # the next response starts the timer
        remaining = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if remaining > 0:
            self._start_idle_timer(remaining)
        else:
            self.transport.close()

    def _uvicorn_is_busy(self) -> bool:
        """Whether uvicorn has an unanswered request."""
        return self.cycle is not None and not self.cycle.response_complete

    def _start_in_uvicorn(self) -> None:
        """Pass the request whose headers are complete to uvicorn."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expect
        self.scope["headers"] = headers
        super().on_headers_complete()

    def _hand_to_uvicorn(self) -> None:
        """Pass a request of the fast path to uvicorn, with the body received so far."""
        self._endpoint = None
        self._start_in_uvicorn()
        if self._body:
            super().on_body(self._body)

    def _time_out_body(self) -> None:
        if not self.cycle.response_started and not self.transport.is_closing():
            self.cycle.scope["state"][BODY_TIMED_OUT] = True
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%b"
                % (len(BODY_TIMEOUT_RESPONSE), BODY_TIMEOUT_RESPONSE)
            )
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
