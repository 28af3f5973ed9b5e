"""Marking of requests of a project's tests as probes, to tell them from clients' requests."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

from ml_pipeline.serving.prediction_log import PROBE

HEADER = "X-Request-ID"
PORTS = {"http": 80, "https": 443}


@contextmanager
def mark_requests(url: str) -> Iterator[None]:
    """Set the probe's request id on requests to the server of ``url`` without an id.

    This covers httpx, and all clients on ``http.client``: requests, urllib3, urllib. Shadow does
    not replay or mirror marked requests, and watch does not count them.
    """
    import httpx

    parts = urlsplit(url)
    server = parts.hostname, parts.port or PORTS.get(parts.scheme)
    plain, build = http.client.HTTPConnection.endheaders, httpx.Client.build_request

    def endheaders(self: http.client.HTTPConnection, *args: Any, **named: Any) -> None:
        sent = self._buffer  # type: ignore[attr-defined]  # no public attribute has the headers
        own = any(line.lower().startswith(HEADER.lower().encode() + b":") for line in sent)
        if (self.host, self.port) == server and not own:
            self.putheader(HEADER, PROBE)
        plain(self, *args, **named)

    def build_request(self: Any, *args: Any, **named: Any) -> httpx.Request:
        request = build(self, *args, **named)
        target = request.url.host, request.url.port or PORTS.get(request.url.scheme)
        if target == server:
            request.headers.setdefault(HEADER, PROBE)
        return request

    with (
        mock.patch.object(http.client.HTTPConnection, "endheaders", endheaders),
        mock.patch.object(httpx.Client, "build_request", build_request),
        mock.patch.object(httpx.AsyncClient, "build_request", build_request),
    ):
        yield
