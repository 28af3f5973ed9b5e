"""The public socket."""

from __future__ import annotations

import socket

from ml_pipeline.core.errors import EnvironmentFault

BACKLOG = 2048
"""Connections that may wait; must hold those that arrive during a handover."""


def bind(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket.

    Raises:
        EnvironmentFault: the address is unavailable; its cause is the OSError.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise EnvironmentFault(f"cannot listen on {host}:{port}: {error.strerror}") from error
    listening.setblocking(False)
    return listening
