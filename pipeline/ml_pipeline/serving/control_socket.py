"""How the deploying process talks to a running server: one line each way over a Unix socket.

=========== ===================================== =============================================
line        what the server does                  what it answers
=========== ===================================== =============================================
``status``  nothing                               who it is, and its candidate port
``lend``    nothing                               the same, and its public listening socket
``serve``   listens on the socket that came along ``{"serving": true}``
``pause``   takes no new connections              ``{"serving": false}``
``mirror``  copies answered requests to the       what it has offered and dropped so far
            socket that came along, if one did
``unmirror`` ends that                            what it offered and dropped
=========== ===================================== =============================================

The listening socket itself goes from the old server to the new one. Both then share one queue of
connections, so that none is lost when the old one closes its end: with two sockets on one port
(SO_REUSEPORT) what waits in the queue of the closed one is reset.

Who may connect is decided by the folder of the socket, which its owner alone may enter. A server
in a container takes only the commands of live shadows, from those with which it shares the folder.

``python -m ml_pipeline.serving.control_socket SOCKET COMMAND`` asks from within a container.
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

LONGEST = 100
"""Bytes of a Unix socket's address that every system takes."""
MAX_LINE = 4096
OF_SHADOWS = frozenset({"status", "mirror", "unmirror"})
COMMANDS = OF_SHADOWS | {"lend", "serve", "pause"}


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """Yield an address for the socket ``path`` that is short enough for the system.

    Raises:
        OSError: the folder is not there, or the path is too long for a system without /proc.
    """
    if len(os.fsencode(path)) <= LONGEST:
        yield str(path)
        return
    if not sys.platform.startswith("linux"):
        raise OSError(0, f"path of a socket longer than {LONGEST} bytes", str(path))
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


def ask(
    path: Path,
    command: str,
    lent: socket.socket | None = None,
    timeout: float = 5.0,
    **more: float,
) -> tuple[dict[str, Any], socket.socket | None]:
    """Send one command, with a socket where one goes along; return the answer and what came.

    ``more`` goes along with the command.

    Raises:
        OSError: no server answers there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        with address(path) as name:
            connection.connect(name)
        send(connection, {"command": command, **more}, lent)
        return receive(connection)


def send(
    connection: socket.socket, message: dict[str, Any], lent: socket.socket | None = None
) -> None:
    """Send one message as a line; a socket goes along as a descriptor of its own."""
    line = json.dumps(message).encode() + b"\n"
    socket.send_fds(connection, [line], [lent.fileno()] if lent else [])


def receive(connection: socket.socket) -> tuple[dict[str, Any], socket.socket | None]:
    """Return one message and the socket that came along.

    Raises:
        OSError: the other end closed, or said something else than one short line of JSON.
    """
    line, descriptors, _, _ = socket.recv_fds(connection, MAX_LINE, 4)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    try:
        while not line.endswith(b"\n") and len(line) < MAX_LINE:
            more = connection.recv(MAX_LINE)
            if not more:
                break
            line += more
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
    """Ask and print the answer; return 1 where no server answers."""
    try:
        told, _ = ask(Path(arguments[0]), arguments[1])
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
