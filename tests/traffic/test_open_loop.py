"""Requests at their moments, to servers that answer, stall, hang up and are not there."""

import asyncio
import json
import socket
import time

import pytest
from ml_pipeline.traffic import mirror_reader, open_loop, requests
from ml_pipeline.traffic.open_loop import Answer, Client, Place
from ml_pipeline.traffic.requests import Stream

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"


def sent(answer, count=20, rate=200.0, timeout=5.0, connections=8):
    """Send to a server whose connections are handled by ``answer``; return the answers."""

    async def main():
        tasks = set()

        async def handle(reader, writer):
            tasks.add(asyncio.current_task())
            try:
                await answer(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        place = Place.of(f"http://127.0.0.1:{port}")
        client = Client(place, connections=connections, timeout=timeout)
        due = open_loop.evenly(rate, count / rate)
        found = await open_loop.send(client, [place.request(b"{}")] * count, due)
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return found

    return asyncio.run(main())


async def request(reader):
    await reader.readuntil(b"\r\n\r\n{}")


async def always(reader, writer):
    while True:
        await request(reader)
        writer.write(OK)


def test_every_request_is_answered_in_its_place():
    found = sent(always)
    assert [answer.status for answer in found] == [200] * 20
    assert [answer.due for answer in found] == [index / 200 for index in range(20)]
    assert all(answer.latency >= answer.lag >= 0 for answer in found)


@pytest.mark.slow
def test_a_stall_delays_all_that_were_due_meanwhile():
    stalled = []

    async def stall(reader, writer):
        while True:
            await request(reader)
            if not stalled:
                stalled.append(True)
                time.sleep(0.3)  # noqa: ASYNC251  the whole server stands still
            writer.write(OK)

    found = sent(stall, count=100, rate=400.0)
    waited = [answer for answer in found if answer.latency > 0.1]
    assert len(waited) > 30
    assert not [answer for answer in found if answer.error]


def test_a_connection_that_was_closed_while_idle_is_replaced():
    async def once(reader, writer):
        await request(reader)
        writer.write(OK)
        await writer.drain()

    found = sent(once, rate=50.0, count=10)
    assert [answer.status for answer in found] == [200] * 10


def test_a_server_may_ask_for_a_new_connection():
    async def closing(reader, writer):
        await request(reader)
        writer.write(CLOSING)
        await writer.drain()

    assert {answer.body for answer in sent(closing)} == {b"ok"}


@pytest.mark.parametrize(
    "noise", [b"\x00\xff\x00", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", b""]
)
def test_what_is_no_whole_answer_is_none(noise):
    async def broken(reader, writer):
        await request(reader)
        writer.write(noise)
        await writer.drain()

    found = sent(broken, count=5)
    assert {answer.status for answer in found} == {0}
    assert all(answer.error for answer in found)


def test_a_server_that_hangs_costs_the_timeout_even_where_connections_run_out():
    async def hang(reader, writer):
        await asyncio.sleep(600)

    start = time.monotonic()
    found = sent(hang, timeout=0.3, connections=2)
    assert time.monotonic() - start < 300
    assert {answer.error for answer in found} == {"no answer within 0.3 s"}


def test_where_nothing_listens_nothing_is_answered():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ((answer,),) = requests.play([Stream(f"http://127.0.0.1:{port}", None, [b"{}"], [0.0])])
    assert requests.reply(answer, None).missing


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
def test_only_a_probability_of_the_asked_version_is_an_answer(status, body, error):
    found = requests.reply(Answer(0.0, 0.0, 0.001, status, body), 1)
    assert found.error == error
    assert found.predictions == (() if error else (0.5,))


def test_a_token_and_a_path_go_along():
    request = Place.of("https://example.org/model", "hush").request(b"{}", "r-1")
    head = request.decode().split("\r\n")
    assert head[0] == "POST /model/predict HTTP/1.1"
    assert {"host: example.org", "authorization: Bearer hush", "x-request-id: r-1"} <= set(head)


def test_features_are_put_into_the_challengers_order():
    one = json.dumps({"features": [1.0, None, "x"]}).encode()
    assert json.loads(mirror_reader.reordered(one, (2, 0))) == {"features": ["x", 1.0]}
    rows = json.dumps({"features": [[1.0, 2.0], [3.0, 4.0]]}).encode()
    assert json.loads(mirror_reader.reordered(rows, (1, 0))) == {
        "features": [[2.0, 1.0], [4.0, 3.0]]
    }
    assert mirror_reader.reordered(one, None) is one
