"""A proxy between a client and an HTTP server that injects network faults."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["refused", "lost", "cut", "error", "not json", "late"]
"""What happens to a request.

- refused: the connection ends before the server hears of it
- lost: the server processes the request, and its response never arrives
- cut: so, and half of the answer arrives
- error: 503, from the proxy
- not json: 200 with a page, from the proxy
- late: it is answered after ``FaultProxy.seconds``
"""
HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass(frozen=True)
class Request:
    """The ``number``-th request, from 0, since the faults were last set."""

    number: int
    method: str
    path: str


Plan = Callable[[Request], Fault | None]


@dataclass
class FaultProxy:
    """The configured faults, and the requests since they were set."""

    url: str
    seconds: float = 3.0
    seen: list[Request] = field(default_factory=list)
    plan: Plan = field(default=lambda _: None)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def does(self, plan: Plan) -> None:
        with self._lock:
            self.seen, self.plan = [], plan

    def heals(self) -> None:
        self.does(lambda _: None)

    def met(self, method: str, path: str) -> Fault | None:
        with self._lock:
            request = Request(len(self.seen), method, path)
            self.seen.append(request)
            return self.plan(request)


@contextmanager
def fault_proxy(server: str) -> Iterator[FaultProxy]:
    """Run a proxy in front of the server at the address ``server``."""
    proxy = FaultProxy("")

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = proxy.met(self.command, self.path)
            self.close_connection = True
            if fault == "refused":
                return
            if fault in ("error", "not json"):
                page = b"<html>the proxy says hello</html>"
                answer(
                    self, 503 if fault == "error" else 200, [("Content-Type", "text/html")], page
                )
                return
            if fault == "late":
                time.sleep(proxy.seconds)
            try:
                status, headers, content = forward(server, self, body)
            except OSError:  # the server is gone, and so is this connection
                return
            if fault != "lost":
                answer(self, status, headers, content, cut=fault == "cut")

        def log_message(self, *_: object) -> None:
            """Suppress the log."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def forward(server: str, handler: BaseHTTPRequestHandler, body: bytes):
    connection = http.client.HTTPConnection(urlsplit(server).netloc, timeout=60)
    try:
        headers = {k: v for k, v in handler.headers.items() if k.lower() not in (*HOP, "host")}
        connection.request(handler.command, handler.path, body or None, headers)
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read()
    finally:
        connection.close()


def answer(handler: BaseHTTPRequestHandler, status, headers, content, *, cut=False) -> None:
    try:
        handler.send_response(status)
        for name, value in headers:
            if name.lower() not in (*HOP, "date", "server"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2] if cut else content)
    except OSError:
        """The client closed the connection."""
