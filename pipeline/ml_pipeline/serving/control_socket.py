"""Control of a running server by the deploying process: one line each way over a Unix socket.

============ ========================================= ===========================================
command      what the server does                      reply
============ ========================================= ===========================================
``status``   nothing                                   pid, version, digest and its loopback port
``lend``     nothing                                   the same, and its public listening socket
``serve``    listens on the passed socket              ``{"serving": true}``
``pause``    stops accepting connections               ``{"serving": false}``
``mirror``   copies answered requests to the passed    the counts of offered and dropped requests
             socket, if there is one
``unmirror`` stops copying                             the counts of offered and dropped requests
============ ========================================= ===========================================

The listening socket itself is passed from the old server to the new one. Both then share one queue
of connections, so no connection is lost when the old server closes its descriptor. With two sockets
on one port (SO_REUSEPORT) the connections in the queue of the closed one would be reset.

The permissions of the socket's folder, which only its owner may enter, decide who may connect. A
server in a container accepts only the commands of live shadows, from containers that share the
folder.

``python -m ml_pipeline.serving.control_socket SOCKET COMMAND`` sends a command from within a
container.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

MAX_ADDRESS_BYTES = 100
"""Bytes of a Unix socket address that every system accepts."""
MAX_LINE = 4096
SHADOW_COMMANDS = frozenset({"status", "mirror", "unmirror"})
COMMANDS = SHADOW_COMMANDS | {"lend", "serve", "pause"}


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """Yield an address of the socket ``path`` that is short enough for the system.

    Raises:
        OSError: the folder does not exist, or the path is too long on a system without /proc.
    """
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        yield str(path)
        return
    if not sys.platform.startswith("linux"):
        raise OSError(0, f"path of a socket longer than {MAX_ADDRESS_BYTES} bytes", str(path))
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path) -> socket.socket:
    """Return a listening control socket at ``path``, which only its owner may use."""
    path.unlink(missing_ok=True)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with address(path) as name:
            control.bind(name)
    finally:
        os.umask(before)
    control.listen(8)
    control.setblocking(False)
    return control


def send_command(
    path: Path,
    command: str,
    passed_socket: socket.socket | None = None,
    timeout: float = 5.0,
    **parameters: float,
) -> tuple[dict[str, Any], socket.socket | None]:
    """Send one command; return the reply, and the socket that was passed with it.

    Args:
        path: of the control socket.
        command: one of ``COMMANDS``.
        passed_socket: to pass to the server, if any.
        timeout: seconds.
        parameters: of the command.

    Raises:
        OSError: no server answers there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        with address(path) as name:
            connection.connect(name)
        send(connection, {"command": command, **parameters}, passed_socket)
        return receive(connection)


def send(
    connection: socket.socket, message: dict[str, Any], passed_socket: socket.socket | None = None
) -> None:
    """Send one message as a line; pass a duplicate of the socket's descriptor with it."""
    line = json.dumps(message).encode() + b"\n"
    socket.send_fds(connection, [line], [passed_socket.fileno()] if passed_socket else [])


def receive(connection: socket.socket) -> tuple[dict[str, Any], socket.socket | None]:
    """Return one message and the socket that was passed with it.

    Raises:
        OSError: the other end closed, or sent something else than one short line of JSON.
    """
    line, descriptors, _, _ = socket.recv_fds(connection, MAX_LINE, 4)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    try:
        while not line.endswith(b"\n") and len(line) < MAX_LINE:
            chunk = connection.recv(MAX_LINE)
            if not chunk:
                break
            line += chunk
        message = json.loads(line)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        for descriptor in descriptors:
            os.close(descriptor)
        raise OSError(0, "the control socket's other end sent no message")
    for descriptor in descriptors[1:]:
        os.close(descriptor)
    return message, socket.socket(fileno=descriptors[0]) if descriptors else None


def main(arguments: Sequence[str]) -> int:
    """Send a command and print the reply; return 1 if no server answers."""
    try:
        response, _ = send_command(Path(arguments[0]), arguments[1])
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(json.dumps(response) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
