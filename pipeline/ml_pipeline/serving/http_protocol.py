"""uvicorn's fast HTTP protocol, with bounds on a request and a short way for the usual one.

What uvicorn does between a request and its application (a scope, a cycle, a task, two messages)
takes longer than a quick model. So a request for predictions that arrived whole in one read, and
that is nothing special, is answered without, by one write: in the loop's next turn, together with
those that arrived on other connections. Every other request takes uvicorn's way, as if this one did
not exist.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ml_pipeline.serving.requests import BODY_TIMED_OUT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml_pipeline.serving.app import Answer, Scoring

MAX_HEAD = 64 << 10
"""Bytes of a request line and its headers, to within one read of the socket."""
HEAD_SECONDS = 10.0
"""Time for them to arrive."""
BODY_SECONDS = 10.0
"""Time for a body to arrive, once its headers have."""
TOO_LATE = b'{"error":"no whole body in time"}'
MAX_QUEUED = 32
"""Requests of one connection that wait for an answer, beyond which its input stays unparsed."""
SLICE = 4 << 10
"""Bytes that are parsed before the length of that queue is checked again."""
WRITE_SECONDS = 30.0
"""Time for a client to read enough of its answers, once the transport's buffer is full."""


class QueueAwareFlow(FlowControl):
    """Keeps reading paused while requests of the connection are queued or unparsed.

    uvicorn resumes reading after each answer, so that a client which sends faster than it is
    answered would fill the memory.
    """

    def __init__(self, transport: asyncio.Transport, protocol: BoundedProtocol) -> None:
        super().__init__(transport)
        self._protocol = protocol

    def resume_reading(self) -> None:
        if not self._protocol.has_backlog:
            super().resume_reading()


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request is too long in its head, or does not arrive.

    A body that does not arrive is answered with 408 here, where a timer costs only the requests
    that wait for one. Pipelined requests are queued up to ``MAX_QUEUED``; a client that does not
    read its answers is disconnected after ``WRITE_SECONDS``.

    The application's ``fast_path``, if it has one, names who answers on the short way.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head = True
        self._head = 0
        self._timer: asyncio.TimerHandle | None = None
        self._fast_path: Mapping[bytes, Scoring] = getattr(self.app, "fast_path", {})
        self._scoring: Scoring | None = None
        """Who may answer the request that is being parsed, of which uvicorn does not know yet."""
        self._body = b""
        self._waits_for: Scoring | None = None
        """Who answers the last request in the loop's next turn."""
        self._refusal: str | None = None
        """What is wrong with that which came after a request that is not answered yet."""
        self._idle_since = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._unparsed = b""
        """What arrived behind a full queue of requests."""
        self._write_timer: asyncio.TimerHandle | None = None

    @property
    def has_backlog(self) -> bool:
        """Whether requests of this connection are queued, or input is not parsed yet."""
        return bool(self.pipeline or self._unparsed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self.flow = QueueAwareFlow(self.transport, self)
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

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
        if self._scoring is not None:
            self._leave_to_uvicorn()
        if self._unparsed:
            self._stop_timer()
            return
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                self.send_400_response("The request's headers are too long.")
            if self._timer is None:
                self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)
        else:
            self._head = 0
            if self._timer is None and self.cycle is not None and self.cycle.more_body:
                self._timer = self.loop.call_later(BODY_SECONDS, self._body_is_late)

    def _feed_slices(self, data: bytes) -> bytes:
        """Parse slices until the queue is full, and keep the rest; return what was parsed."""
        for start in range(0, len(data), SLICE):
            if self.transport.is_closing() or self._refusal is not None:
                break
            if len(self.pipeline) >= MAX_QUEUED:
                self._unparsed = data[start:]
                self.flow.pause_reading()
                return data[:start]
            super().data_received(data[start : start + SLICE])
        return data

    def _feed_unparsed(self) -> None:
        if self.pipeline or self.transport.is_closing():
            return  # the answer to the last queued request schedules this again
        data, self._unparsed = self._unparsed, b""
        self._feed(data)
        self.flow.resume_reading()

    def on_message_begin(self) -> None:
        self._flush_pending()
        self._in_head = True
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # what comes after a chunked body says nothing of the request
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        scoring = self._fast_path.get(self.url)
        if scoring is not None and self._is_usual():
            self._scoring, self._body = scoring, b""
        else:
            self._tell_uvicorn()

    def on_body(self, body: bytes) -> None:
        if self._scoring is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        self._stop_timer()
        if self._scoring is not None:
            self._waits_for = self._scoring
            if self._scoring.fast_path(self.headers, self._body, self._send):
                self._scoring = None
                return
            self._waits_for = None
            self._leave_to_uvicorn()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, after the requests before it."""
        self._flush_pending()
        if not self._is_uvicorns() or (self.cycle.more_body and not self.pipeline):
            super().send_400_response(msg)
            return
        if self.cycle.more_body:  # its own body is at fault, and it waits for others
            self.pipeline.popleft()[0].response_complete = True
        self._refusal = msg
        self.flow.pause_reading()

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if is_last and self._refusal is not None:
            super().send_400_response(self._refusal)
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
        """Close the connection once it has its answers."""
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

    def _is_usual(self) -> bool:
        """Whether the request, by its headers, can be answered without uvicorn's care."""
        parser, limit = self.parser, self.limit_concurrency
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and not self._is_uvicorns()
            and not self.flow.write_paused
            and not self.transport.is_closing()
            and (limit is None or max(len(self.connections), len(self.tasks)) < limit)
        )

    def _flush_pending(self) -> None:
        """Have the last request answered now, before anything else happens to the connection."""
        if self._waits_for is not None:
            self._waits_for.flush()

    def _send(self, answer: Answer) -> None:
        self._waits_for = None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        fields = map(b": ".join, [*self.server_state.default_headers, *answer.fields])
        head = STATUS_LINE[answer.status] + b"\r\n".join(fields)
        self.transport.write(head + b"\r\n\r\n" + answer.body)
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._watch_idleness(self.timeout_keep_alive)

    def _watch_idleness(self, seconds: float) -> None:
        self._idle_timer = self.loop.call_later(seconds, self._close_if_idle)

    def _close_if_idle(self) -> None:
        """Close the connection if it asked for nothing since its last answer, long ago.

        One timer a connection: uvicorn's, one a request, is as dear as parsing the request.
        """
        # a request of this turn; the timer is still there, so none begins anew
        self._flush_pending()
        self._idle_timer = None
        if self._in_head or self._is_uvicorns() or self.timeout_keep_alive_task is not None:
            return  # the next answer begins anew
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._watch_idleness(left)
        else:
            self.transport.close()

    def _is_uvicorns(self) -> bool:
        """Whether uvicorn has a request that is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _tell_uvicorn(self) -> None:
        """Let uvicorn begin the request whose headers are complete."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expect
        self.scope["headers"] = headers
        super().on_headers_complete()

    def _leave_to_uvicorn(self) -> None:
        """Let it have a request that was to be answered at once, as far as it has arrived."""
        self._scoring = None
        self._tell_uvicorn()
        if self._body:
            super().on_body(self._body)

    def _body_is_late(self) -> None:
        if not self.cycle.response_started and not self.transport.is_closing():
            self.cycle.scope["state"][BODY_TIMED_OUT] = True
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(TOO_LATE), TOO_LATE)
            )
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
