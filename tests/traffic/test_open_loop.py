"""Scheduled requests to servers that respond, stall, disconnect or do not exist."""

import asyncio
import json
import socket
import time

import pytest
from ml_pipeline.traffic import mirror_reader, open_loop, prediction_requests
from ml_pipeline.traffic.open_loop import ConnectionPool, Endpoint, TimedResponse
from ml_pipeline.traffic.prediction_requests import RequestStream

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"


def responses_of(response, count=20, rate=200.0, timeout=5.0, connections=8):
    """Send to a server whose connections are handled by ``response``; return the answers."""

    async def main():
        tasks = set()

        async def handle(reader, writer):
            tasks.add(asyncio.current_task())
            try:
                await response(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        endpoint = Endpoint.of(f"http://127.0.0.1:{port}")
        client = ConnectionPool(endpoint, connections=connections, timeout=timeout)
        due = open_loop.constant_rate(rate, count / rate)
        responses = await open_loop.send(client, [endpoint.request(b"{}")] * count, due)
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return responses

    return asyncio.run(main())


async def request(reader):
    await reader.readuntil(b"\r\n\r\n{}")


async def always_ok(reader, writer):
    while True:
        await request(reader)
        writer.write(OK)


def test_responses_are_in_the_order_of_the_requests():
    responses = responses_of(always_ok)
    assert [response.status for response in responses] == [200] * 20
    assert [response.due for response in responses] == [index / 200 for index in range(20)]
    assert all(response.latency >= response.lag >= 0 for response in responses)


@pytest.mark.slow
def test_a_stall_counts_in_the_latency_of_all_requests_due_meanwhile():
    stalled = []

    async def stall(reader, writer):
        while True:
            await request(reader)
            if not stalled:
                stalled.append(True)
                time.sleep(0.3)  # noqa: ASYNC251  the whole server stalls
            writer.write(OK)

    responses = responses_of(stall, count=100, rate=400.0)
    waited = [response for response in responses if response.latency > 0.1]
    assert len(waited) > 30
    assert not [response for response in responses if response.error]


def test_a_connection_that_was_closed_while_idle_is_replaced():
    async def once(reader, writer):
        await request(reader)
        writer.write(OK)
        await writer.drain()

    responses = responses_of(once, rate=50.0, count=10)
    assert [response.status for response in responses] == [200] * 10


def test_a_server_may_ask_for_a_new_connection():
    async def closing(reader, writer):
        await request(reader)
        writer.write(CLOSING)
        await writer.drain()

    assert {response.body for response in responses_of(closing)} == {b"ok"}


@pytest.mark.parametrize(
    "noise", [b"\x00\xff\x00", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", b""]
)
def test_an_incomplete_response_is_no_response(noise):
    async def broken(reader, writer):
        await request(reader)
        writer.write(noise)
        await writer.drain()

    responses = responses_of(broken, count=5)
    assert {response.status for response in responses} == {0}
    assert all(response.error for response in responses)


def test_a_server_that_hangs_costs_one_timeout_even_without_free_connections():
    async def hang(reader, writer):
        await asyncio.sleep(600)

    start = time.monotonic()
    responses = responses_of(hang, timeout=0.3, connections=2)
    assert time.monotonic() - start < 300
    assert {response.error for response in responses} == {"no answer within 0.3 s"}


def test_without_a_server_the_response_is_missing():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ((response,),) = prediction_requests.send_streams(
        [RequestStream(f"http://127.0.0.1:{port}", None, [b"{}"], [0.0])]
    )
    assert prediction_requests.parse_response(response, None).missing


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, b"", "status 500"),
        (200, b"{", "the answer is not JSON"),
        (200, b"[]", "the answer is empty"),
        (200, b'{"probability": NaN, "model_version": 1}', "the answer holds no probability"),
        (200, b'{"probability": 1.5, "model_version": 1}', "the answer holds no probability"),
        (200, b'{"probability": true, "model_version": 1}', "the answer holds no probability"),
        (200, b'{"probability": 0.5, "model_version": 2}', "answered as version 2"),
        (200, b'{"probability": 0.5, "model_version": 1}', ""),
    ],
)
def test_only_a_probability_of_the_requested_version_is_valid(status, body, error):
    responses = prediction_requests.parse_response(TimedResponse(0.0, 0.0, 0.001, status, body), 1)
    assert responses.error == error
    assert responses.predictions == (() if error else (0.5,))


def test_a_request_has_the_token_and_the_path():
    request = Endpoint.of("https://example.org/model", "hush").request(b"{}", "r-1")
    head = request.decode().split("\r\n")
    assert head[0] == "POST /model/predict HTTP/1.1"
    assert {"host: example.org", "authorization: Bearer hush", "x-request-id: r-1"} <= set(head)


def test_features_are_reordered_for_the_challenger():
    one = json.dumps({"features": [1.0, None, "x"]}).encode()
    assert json.loads(mirror_reader.reorder_request(one, (2, 0))) == {"features": ["x", 1.0]}
    rows = json.dumps({"features": [[1.0, 2.0], [3.0, 4.0]]}).encode()
    assert json.loads(mirror_reader.reorder_request(rows, (1, 0))) == {
        "features": [[2.0, 1.0], [4.0, 3.0]]
    }
    assert mirror_reader.reorder_request(one, None) is one
