"""Copies of answered requests for a challenger; responses never wait for the copying.

The server only makes one non-blocking write to a socket: what does not fit into the socket's
buffer, the bounded queue, is dropped and counted. Another process reads the other end, sends the
requests to the challenger and records both responses (``ml_pipeline.traffic.mirror_reader``), so a
challenger that hangs, crashes or sends invalid responses does not affect the server. The reader
ends when the server's end is closed, by command or because the server has ended.
"""

from __future__ import annotations

import contextlib
import random
import socket
from typing import Any

import msgspec

QUEUE_BYTES = 1 << 20
"""Requested buffer size; Linux limits it to net.core.wmem_max."""
MAX_MESSAGE_BYTES = 1 << 20

MirroredRequest = tuple[str, bytes, bytes, float]
"""Request id, body, response, and its latency in milliseconds."""

_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(MirroredRequest).decode


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return the server's end and the reader's of a socket that keeps message boundaries.

    Raises:
        OSError: the system does not support such sockets.
    """
    server_end, reader_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server_end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, QUEUE_BYTES)
    server_end.setblocking(False)
    return server_end, reader_end


class Mirror:
    """The server's end; ``offered`` and ``dropped`` count its requests."""

    def __init__(self, queue: socket.socket, share: float = 1.0) -> None:
        queue.setblocking(False)
        self._queue = queue
        self._share = share
        self.offered = 0
        self.dropped = 0

    def offer(
        self, body: bytes | bytearray, response: bytes, seconds: float, request_id: str
    ) -> None:
        """Copy an answered request, or count it as dropped; never waits, never raises.

        Args:
            body: of the request.
            response: body of the response.
            seconds: latency of the response.
            request_id: sent to the challenger as well.
        """
        if self._share < 1 and random.random() >= self._share:  # noqa: S311  # a sample, no secret
            return
        self.offered += 1
        try:
            self._queue.send(_encode((request_id, body, response, seconds * 1000)))
        except OSError:
            self.dropped += 1

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._queue.close()

    @property
    def counts(self) -> dict[str, Any]:
        return {"mirroring": True, "offered": self.offered, "dropped": self.dropped}
