"""Copies of answered requests for a challenger, which the answers never wait for.

The server's whole part is one write to a socket that never blocks: what does not fit into the
socket's buffer, the bounded queue, is dropped and counted. Another process reads the other end,
asks the challenger and writes down both answers (``ml_pipeline.traffic.mirror_reader``), so that
a challenger that hangs, crashes or answers nonsense does not affect this process. It ends when
this end is closed, on command or because the server has ended.
"""

from __future__ import annotations

import contextlib
import random
import socket
from typing import Any

import msgspec

QUEUE_BYTES = 1 << 20
"""Asked of the system for the queue; Linux gives what net.core.wmem_max allows."""
LARGEST = 1 << 20

Copy = tuple[str, bytes, bytes, float]
"""Request id, body, answer, and the milliseconds that the answer took."""

_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Copy).decode


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the server's end and the reader's: whole messages, an end that is noticed.

    Raises:
        OSError: the system has no such sockets.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, QUEUE_BYTES)
    ours.setblocking(False)
    return ours, theirs


class Mirror:
    """The server's end. ``offered`` and ``dropped`` count requests since it began."""

    def __init__(self, queue: socket.socket, share: float = 1.0) -> None:
        queue.setblocking(False)
        self._queue = queue
        self._share = share
        self.offered = 0
        self.dropped = 0

    def offer(
        self, body: bytes | bytearray, answer: bytes, seconds: float, request_id: str
    ) -> None:
        """Copy an answered request, or count it as dropped; never waits, never raises.

        Args:
            body: of the request.
            answer: the body that was sent.
            seconds: that it took.
            request_id: told to the challenger.
        """
        if self._share < 1 and random.random() >= self._share:  # noqa: S311  # a sample, no secret
            return
        self.offered += 1
        try:
            self._queue.send(_encode((request_id, body, answer, seconds * 1000)))
        except OSError:
            self.dropped += 1

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._queue.close()

    @property
    def facts(self) -> dict[str, Any]:
        return {"mirroring": True, "offered": self.offered, "dropped": self.dropped}
