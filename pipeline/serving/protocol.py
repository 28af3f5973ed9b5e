"""uvicorn's fast HTTP protocol, with bounds on what a client may send before its body."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pipeline.serving.requests import LATE

MAX_HEAD = 64 << 10
"""Bytes of a request line and its headers, to within one read of the socket."""
HEAD_SECONDS = 10.0
"""Time for them to arrive."""
BODY_SECONDS = 10.0
"""Time for a body to arrive, once its headers have."""
TOO_LATE = b'{"error":"no whole body in time"}'


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request is too long in its head, or does not arrive.

    A body that does not arrive is answered with 408 here, where a timer costs only the requests
    that wait for one.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head = True
        self._head = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
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

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_timer()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _body_is_late(self) -> None:
        if not self.cycle.response_started and not self.transport.is_closing():
            self.cycle.scope["state"][LATE] = True
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(TOO_LATE), TOO_LATE)
            )
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
