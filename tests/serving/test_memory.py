"""The memory that a client without a token can make the server use."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import time

import psutil
import pytest

from tests.servers import TOKEN, await_ready, free_port

pytestmark = pytest.mark.slow

MARGIN = 40 << 20
"""Bytes by which the server may grow; without bounds it grew by this within a second."""
SECONDS = 2.0
PAGE = b"GET /health/live HTTP/1.1\r\n\r\n"
ROW = b"POST /predict HTTP/1.1\r\ncontent-length: 1\r\n\r\n{"
PIPELINED = (PAGE * 2000, ROW * 2000, b"GET /docs HTTP/1.1\r\n\r\n" * 2000)


@pytest.fixture(scope="module")
def server(tmp_path_factory, write_bundle):
    """A server that requires a token; its process and its port."""
    port = free_port()
    bundle = write_bundle(tmp_path_factory.mktemp("memory") / "bundle")
    command = [sys.executable, "-P", "-m", "ml_pipeline.serving", "--bundle", str(bundle)]
    command += ["--port", str(port), "--token-env", "SECRET"]
    environment = os.environ | {"SECRET": TOKEN}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    await_ready(f"http://127.0.0.1:{port}")
    yield psutil.Process(process.pid), port
    process.kill()
    process.wait()


class FloodingClient:
    """A connection that sends the same content repeatedly, as fast as the server reads."""

    def __init__(self, port, content):
        self._port = port
        self._content = content
        self.connect()

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self._port))
        self.socket.settimeout(0)
        self._sent = 0

    def push(self):
        """Send what the server reads now; reconnect if it closed the connection."""
        try:
            self._sent += self.socket.send(self._content[self._sent :])
        except BlockingIOError:
            return
        except ConnectionError:
            self.socket.close()
            self.connect()
        if self._sent == len(self._content):
            self._sent = 0

    def read(self):
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self.socket.recv(1 << 16)


@contextlib.contextmanager
def clients(port, number, content):
    with contextlib.ExitStack() as stack:
        opened = [FloodingClient(port, content) for _ in range(number)]
        for each in opened:
            stack.callback(lambda client=each: client.socket.close())
        yield opened


def growth(process, act):
    """Return the largest growth of the process in bytes while ``act`` is called repeatedly."""
    before = most = process.memory_info().rss
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        act()
        most = max(most, process.memory_info().rss)
    return most - before


@pytest.mark.parametrize("content", PIPELINED, ids=["pages", "refused rows", "large pages"])
@pytest.mark.parametrize("reads", [True, False], ids=["read", "unread"])
def test_pipelining_uses_bounded_memory(server, content, reads):
    process, port = server
    with clients(port, 4, content) as opened:

        def act():
            for each in opened:
                each.push()
                if reads:
                    each.read()

        assert growth(process, act) < MARGIN
    await_ready(f"http://127.0.0.1:{port}")


def test_resets_leave_nothing_behind(server):
    process, port = server
    no_linger = struct.pack("ii", 1, 0)

    def act():
        with clients(port, 8, PAGE * 2000) as opened:
            for each in opened:
                each.push()
                each.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)

    assert growth(process, act) < MARGIN
    await_ready(f"http://127.0.0.1:{port}")
