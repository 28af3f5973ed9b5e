"""Requests of a project's tests are marked by their request id."""

import asyncio
import http.server
import threading
import urllib.request

import httpx
import pytest
import requests
from ml_pipeline.project.probe_marking import mark_requests
from ml_pipeline.serving.prediction_log import PROBE


@pytest.fixture
def make_server():
    """Start a server that answers with the request ids that it was given, and return its URL."""
    started = []

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = ",".join(self.headers.get_all("x-request-id") or ["none"]).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Suppress the log."""

    def make():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        started.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield make
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


def by_httpx(url, headers):
    return httpx.get(url, headers=headers).text


def by_a_client_of_httpx(url, headers):
    with httpx.Client(base_url=url, timeout=60) as client:
        return client.get("/", headers=headers).text


def by_httpx_without_waiting(url, headers):
    async def ask():
        async with httpx.AsyncClient() as client:
            return (await client.get(url, headers=headers)).text

    return asyncio.run(ask())


def by_requests(url, headers):
    return requests.get(url, headers=headers, timeout=60).text


def by_urllib(url, headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.read().decode()


WAYS = [by_httpx, by_a_client_of_httpx, by_httpx_without_waiting, by_requests, by_urllib]


@pytest.mark.parametrize("ask", WAYS)
def test_only_requests_to_this_server_without_an_id_are_marked(make_server, ask):
    url, other = make_server(), make_server()
    with mark_requests(url):
        assert ask(url, {}) == PROBE
        assert ask(url, {"X-Request-ID": "own"}) == "own"
        assert ask(other, {}) == "none"
    assert ask(url, {}) == "none"
