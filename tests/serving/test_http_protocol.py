"""The fast path: its responses equal those of uvicorn, wherever the bytes are split."""

import asyncio
import itertools
import json
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.serving import http_protocol, inference, server
from ml_pipeline.serving.app import RequestLimits, ServerProcessState, make_app
from ml_pipeline.serving.http_protocol import BoundedProtocol
from uvicorn.server import ServerState

TOKEN = "t0ken"
AUTHORIZATION = f"authorization: Bearer {TOKEN}"
LIMITS = RequestLimits(max_body=300, max_rows=3)
DATE = (b"date", b"today")


def request(
    body,
    *fields,
    method="POST",
    target="/predict",
    version="1.1",
    token=AUTHORIZATION,
    chunks=None,
    tail="",
):
    """Return a request's bytes; ``chunks`` sends the body in that many, with ``tail`` after it."""
    lines = [f"{method} {target} HTTP/{version}", "host: x", *fields]
    lines += [token] if token else []
    if chunks is None:
        lines.append(f"content-length: {len(body)}")
        return "\r\n".join([*lines, "", body]).encode()
    size = len(body) // chunks + 1
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    coded = "".join(f"{len(part):x}\r\n{part}\r\n" for part in parts)
    lines.append("transfer-encoding: chunked")
    return "\r\n".join([*lines, "", f"{coded}0\r\n{tail}\r\n"]).encode()


ROW = json.dumps({"features": [1.0, "north"]})
ROWS = json.dumps({"features": [[0.25, None], [None, "west"]]})
JSON = "content-type: application/json"
SPLIT = json.dumps({"dataframe_split": {"columns": ["c", "x"], "data": [["north", 1]]}})
REQUESTS = {
    "a row": request(ROW, "x-request-id: mine"),
    "rows": request(ROWS),
    "no rows": request('{"features": []}'),
    "as MLflow has it": request(SPLIT, JSON, target="/invocations"),
    "MLflow, refused": request(SPLIT, "content-type: text/plain", target="/invocations"),
    "no JSON": request("{"),
    "no body": request(""),
    "a schema error": request('{"features": ["text", "north"]}'),
    "too many rows": request('{"features": [[1, null], [1, null], [1, null], [1, null]]}'),
    "no token": request(ROW, token=None),
    "another token": request(ROW, token="authorization: Bearer other"),
    "two tokens": request(ROW, AUTHORIZATION),
    "too large": request(ROW + " " * 300),
    "too large in chunks": request(ROW + " " * 300, chunks=4),
    "in chunks": request(ROWS, chunks=3),
    "with a trailer": request(ROW, chunks=1, tail="x-request-id: late\r\n"),
    "with a token as a trailer": request(ROW, chunks=2, token=None, tail=f"{AUTHORIZATION}\r\n"),
    "compressed": request(ROW, "content-encoding: gzip"),
    "an id that is none": request(ROW, "x-request-id: a b"),
    "the last one": request(ROW, "connection: close"),
    "keeps alive": request(ROW, "Connection: Keep-Alive"),
    "1.0": request(ROW, version="1.0"),
    "1.0, keeps alive": request(ROW, "connection: keep-alive", version="1.0"),
    "expects": request(ROW, "expect: 100-continue"),
    "a query": request(ROW, target="/predict?x=1"),
    "another writing": request(ROW, target="/%70redict"),
    "an absolute target": request(ROW, target="http://x/predict"),
    "another method": request(ROW, method="PUT"),
    "another path": request(ROW, target="/elsewhere"),
    "a page": request("", method="GET", target="/health/live"),
    "a head": request("", method="HEAD", target="/version"),
    "no HTTP": b"nonsense\r\n\r\n",
    "a bad length": b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    "a bad chunk": request(ROW, chunks=1).replace(b"\r\n0\r\n\r\n", b"\r\nnone\r\n"),
}


BAD_CHUNK = b"\r\nnone\r\n"


class Transport(asyncio.Transport):
    """Records what a protocol writes, and whether the connection was closed."""

    def __init__(self, loop):
        super().__init__()
        self.loop = loop
        self.written = []
        self.protocol = None
        self.ended = False

    def get_extra_info(self, name, default=None):
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def write(self, data):
        if not self.ended:
            self.written.append(bytes(data))

    def is_closing(self):
        return self.ended

    def close(self):
        if not self.ended:
            self.ended = True
            self.loop.call_soon(self.protocol.connection_lost, None)

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


class ProtocolConnection:
    """A protocol with a transport double and its own application."""

    def __init__(self, bundle, *, fast, app=None):
        self.state = ServerProcessState()
        self.app = app or make_app(bundle, 3, LIMITS, self.state, TOKEN)
        if not fast:
            self.app.fast_path = {}
        self.server_state = ServerState()
        self.server_state.default_headers = [DATE]
        config = server._config(self.app)
        config.load()
        self.protocol = BoundedProtocol(config=config, server_state=self.server_state, app_state={})
        self.transport = Transport(asyncio.get_running_loop())
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)

    async def receive(self, *pieces):
        """Receive the pieces, one each iteration of the loop; return all responses."""
        for piece in pieces:
            if not self.transport.ended:
                self.protocol.data_received(piece)
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        return b"".join(self.transport.written)

    async def wait_for_backlog(self):
        """Wait until no request of the connection is queued."""
        while self.protocol.has_backlog and not self.transport.ended:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0)

    def counters(self):
        metrics = self.app.metrics
        return metrics._requests, metrics.predictions.counts, self.server_state.total_requests

    async def end(self):
        self.transport.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def without_generated_ids(answers):
    """Replace the request ids that the server generated."""
    return re.sub(rb"x-request-id: [0-9a-f]{16}-[0-9a-f]+", b"x-request-id: new", answers)


async def exchange(bundle, pieces, *, fast):
    connection = ProtocolConnection(bundle, fast=fast)
    answers = await connection.receive(*pieces)
    ended, counters = connection.transport.ended, connection.counters()
    await connection.end()
    if BAD_CHUNK in b"".join(pieces):
        counters = None  # whether it is counted depends on what has arrived
    return without_generated_ids(answers), ended, counters


@pytest.fixture(scope="module")
def opened(tmp_path_factory, write_bundle):
    return Bundle.open(write_bundle(tmp_path_factory.mktemp("protocol") / "bundle"))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A row is fast, however busy the machine is."""
    monkeypatch.setattr(inference, "MAX_INLINE_SECONDS", 60.0)


def split(content, positions):
    """Return the content cut at the places."""
    cuts = sorted({min(position, len(content)) for position in positions} | {0, len(content)})
    return [content[start:end] for start, end in itertools.pairwise(cuts)]


POSITIONS = st.lists(st.integers(min_value=1, max_value=1500), max_size=12)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    names=st.lists(st.sampled_from(sorted(REQUESTS)), min_size=1, max_size=5), positions=POSITIONS
)
@example(names=["a row", "a page", "rows", "a row"], positions=[])
@example(names=["a page", "no HTTP"], positions=[])
@example(names=["a page", "a head", "a bad chunk"], positions=[])
@example(names=["1.0, keeps alive", "a bad chunk"], positions=[])
@example(names=["a row", "the last one", "a row"], positions=[])
@example(names=["a row", "a row"], positions=[30, 31, 100])
def test_the_fast_path_gives_the_responses_of_uvicorn(opened, names, positions):
    requests = [REQUESTS[each] for each in names]
    pieces = split(b"".join(requests), positions)
    by_uvicorn = asyncio.run(exchange(opened, requests, fast=False))
    assert asyncio.run(exchange(opened, requests, fast=True)) == by_uvicorn
    assert asyncio.run(exchange(opened, pieces, fast=True)) == by_uvicorn


def test_a_request_may_be_split_at_every_byte(opened):
    requests = [REQUESTS["a row"], REQUESTS["in chunks"], REQUESTS["no JSON"]]
    content = b"".join(requests)

    async def ask():
        whole = await exchange(opened, requests, fast=False)
        for position in range(1, len(content)):
            found = await exchange(opened, [content[:position], content[position:]], fast=True)
            assert found == whole, f"split at {position}"
        single = [content[position : position + 1] for position in range(len(content))]
        assert await exchange(opened, single, fast=True) == whole

    asyncio.run(ask())


def test_an_unsupported_upgrade_is_processed_by_uvicorn(opened):
    names = [request(ROW, "connection: upgrade", "upgrade: h2c")]
    by_uvicorn = asyncio.run(exchange(opened, names, fast=False))
    assert asyncio.run(exchange(opened, names, fast=True)) == by_uvicorn


def test_the_fast_path_responds_in_the_next_loop_iteration_with_one_write(opened):
    async def ask():
        connection = ProtocolConnection(opened, fast=True)
        connection.protocol.data_received(REQUESTS["a row"])
        await asyncio.sleep(0)
        written, tasks = list(connection.transport.written), set(connection.server_state.tasks)
        await connection.end()
        return written, tasks

    (written,), tasks = asyncio.run(ask())
    assert written.startswith(b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-type: application/json")
    assert b"\r\nx-request-id: mine\r\n\r\n" in written
    assert not tasks


@pytest.mark.parametrize("why", ["draining", "slow", "crowded", "client reads nothing"])
def test_a_request_off_the_fast_path_is_processed_by_uvicorn(opened, why, monkeypatch):
    async def ask():
        connection = ProtocolConnection(opened, fast=True)
        if why == "draining":
            connection.state.draining = True
        elif why == "slow":
            monkeypatch.setattr(inference, "MAX_INLINE_SECONDS", 0.0)
        elif why == "crowded":
            connection.protocol.limit_concurrency = 1
        else:
            connection.protocol.pause_writing()
        connection.protocol.data_received(REQUESTS["a row"])
        early = list(connection.transport.written)
        if why == "client reads nothing":
            await connection.receive()
            assert connection.transport.written == []
            connection.protocol.resume_writing()
        while not connection.protocol.cycle.response_complete:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.001)
        answer = b"".join(connection.transport.written)
        closed = connection.transport.ended
        await connection.end()
        return early, answer, closed

    early, answer, closed = asyncio.run(ask())
    assert early == []
    assert answer.startswith(b"HTTP/1.1 503" if why == "crowded" else b"HTTP/1.1 200")
    assert closed == (why in ("draining", "crowded"))
    assert closed == (b"connection: close" in answer)


class TestBacklog:
    """Pipelined requests of one connection: answered in order, in bounded memory."""

    PAGE = request("", method="GET", target="/health/live")

    def test_the_queue_is_bounded_however_much_arrives_in_one_read(self, opened):
        async def ask():
            connection = ProtocolConnection(opened, fast=True)
            longest = []

            class Counted(type(connection.protocol.pipeline)):
                def appendleft(self, item):
                    super().appendleft(item)
                    longest.append(len(self))

            connection.protocol.pipeline = Counted()
            connection.protocol.data_received(self.PAGE * 3000)
            reading = []
            while connection.protocol.has_backlog:
                reading.append(connection.protocol.flow.read_paused)
                await asyncio.sleep(0)
            answers = await connection.receive()
            paused = connection.protocol.flow.read_paused
            await connection.end()
            return max(longest), all(reading), paused, answers.count(b"HTTP/1.1 200 OK")

        a_slice = http_protocol.SLICE // len(self.PAGE) + 1
        longest, was_paused, is_paused, answered = asyncio.run(ask())
        assert longest <= http_protocol.MAX_QUEUED + a_slice
        assert was_paused
        assert not is_paused
        assert answered == 3000

    @pytest.mark.parametrize("fast", [True, False])
    def test_order_is_kept_over_a_full_queue(self, opened, fast):
        names = [REQUESTS["a page"]] * 40 + [REQUESTS["rows"], REQUESTS["another path"]] * 40
        names += [REQUESTS["in chunks"], REQUESTS["another method"], REQUESTS["a row"]] * 40

        async def ask(pieces):
            connection = ProtocolConnection(opened, fast=fast)
            for piece in pieces:
                connection.protocol.data_received(piece)
                await connection.wait_for_backlog()
            answers = await connection.receive()
            await connection.end()
            return without_generated_ids(answers)

        assert asyncio.run(ask([b"".join(names)])) == asyncio.run(ask(names))

    def test_a_request_that_is_split_by_a_full_queue_is_answered(self, opened):
        content = self.PAGE * 500 + request(ROW, "x-note: " + "n" * 6000)

        async def ask():
            connection = ProtocolConnection(opened, fast=True)
            connection.protocol.data_received(content)
            await connection.wait_for_backlog()
            answers = await connection.receive()
            await connection.end()
            return answers

        answers = asyncio.run(ask())
        assert answers.count(b"HTTP/1.1 200 OK") == 501
        assert answers.rstrip().endswith(b'"model_version":3}')

    def test_invalid_http_after_a_full_queue_is_refused_after_the_responses(self, opened):
        async def ask():
            connection = ProtocolConnection(opened, fast=True)
            connection.protocol.data_received(self.PAGE * 500 + b"nonsense\r\n\r\n" + self.PAGE)
            await connection.wait_for_backlog()
            answers = await connection.receive()
            assert connection.transport.ended
            return answers

        answers = asyncio.run(ask())
        assert answers.count(b"HTTP/1.1 200 OK") == 500
        assert answers.count(b"HTTP/1.1 400 Bad Request") == 1
        assert answers.endswith(b"Invalid HTTP request received.")

    def test_a_client_that_does_not_read_is_disconnected(self, opened, monkeypatch):
        monkeypatch.setattr(http_protocol, "WRITE_SECONDS", 0.01)

        async def ask(*, reads):
            connection = ProtocolConnection(opened, fast=True)
            aborted = asyncio.Event()
            connection.transport.abort = aborted.set
            connection.protocol.pause_writing()
            if reads:
                connection.protocol.resume_writing()
                await asyncio.sleep(0.05)
                ended = aborted.is_set()
            else:
                ended = await asyncio.wait_for(aborted.wait(), 20)
            await connection.end()
            return ended

        assert asyncio.run(ask(reads=False))
        assert not asyncio.run(ask(reads=True))

    def test_a_lost_connection_releases_its_queue(self, opened):
        async def ask():
            connection = ProtocolConnection(opened, fast=True)
            connection.protocol.data_received(self.PAGE * 3000)
            assert connection.protocol.has_backlog
            await connection.end()
            return connection.protocol.has_backlog

        assert not asyncio.run(ask())


class TestBatches:
    """Requests of several connections in one iteration of the loop are one call of the model."""

    @pytest.fixture
    def calls(self, opened, monkeypatch):
        """The number of rows of each call of the model."""
        found, model = [], opened.predict_list

        def counters(encoded):
            found.append(len(encoded))
            return model(encoded)

        monkeypatch.setattr(opened, "predict_list", counters)
        return found

    async def answers(self, connections, *names):
        """Send each connection a request, in one iteration; return status and body of each."""
        for connection, each in zip(connections, names, strict=True):
            connection.protocol.data_received(each)
        await asyncio.sleep(0)
        found = []
        for connection in connections:
            head, _, body = b"".join(connection.transport.written).partition(b"\r\n\r\n")
            found.append((int(head[9:12] or 0), json.loads(body or b"null")))
            connection.transport.written.clear()
        return found

    def connections(self, opened, number):
        first = ProtocolConnection(opened, fast=True)
        more = [ProtocolConnection(opened, fast=True, app=first.app) for _ in range(number - 1)]
        return [first, *more]

    def test_batched_requests_get_the_responses_of_single_ones(self, opened, calls):
        rows = [[number / 10, "north"] for number in range(20)]
        names = [request(json.dumps({"features": row})) for row in rows]

        async def ask():
            connections = self.connections(opened, len(rows))
            before = len(calls)
            batched = await self.answers(connections, *names)
            counters = calls[before:]
            alone = [await self.answers(connections[:1], each) for each in names]
            for connection in connections:
                await connection.end()
            return batched, counters, [each for (each,) in alone]

        batched, counters, alone = asyncio.run(ask())
        assert counters == [20]
        assert [status for status, _ in batched] == [200] * 20
        assert len({response["probability"] for _, response in batched}) == 20
        assert batched == alone

    def test_a_refused_request_does_not_affect_the_batch(self, opened, calls):
        schema_error, none = request('{"features": ["text", "north"]}'), request(ROW, token=None)

        async def ask():
            connections = self.connections(opened, 4)
            before = len(calls)
            names = [REQUESTS["a row"], schema_error, none, REQUESTS["a row"]]
            found = await self.answers(connections, *names), calls[before:]
            for connection in connections:
                await connection.end()
            return found

        answers, counters = asyncio.run(ask())
        assert [status for status, _ in answers] == [200, 422, 401, 200]
        assert counters == [2]

    def test_an_exception_of_the_model_fails_this_batch_only(self, opened, monkeypatch):
        def fails(_):
            raise RuntimeError("the model's fault")

        async def ask():
            connections = self.connections(opened, 3)
            with monkeypatch.context() as patch:
                patch.setattr(opened, "predict_list", fails)
                first = await self.answers(connections, *[REQUESTS["a row"]] * 3)
            second = await self.answers(connections, *[REQUESTS["a row"]] * 3)
            for connection in connections:
                await connection.end()
            return first, second

        first, second = asyncio.run(ask())
        assert [status for status, _ in first] == [500] * 3
        assert [status for status, _ in second] == [200] * 3

    def test_the_size_of_a_batch_is_limited(self, opened, calls, monkeypatch):
        monkeypatch.setattr(inference, "MAX_BATCH", 4)

        async def ask():
            connections = self.connections(opened, 10)
            before = len(calls)
            found = await self.answers(connections, *[REQUESTS["a row"]] * 10), calls[before:]
            for connection in connections:
                await connection.end()
            return found

        answers, counters = asyncio.run(ask())
        assert [status for status, _ in answers] == [200] * 10
        assert counters == [4, 4, 2]

    def test_a_disconnect_does_not_affect_the_batch(self, opened):
        async def ask():
            connections = self.connections(opened, 3)
            for connection in connections:
                connection.protocol.data_received(REQUESTS["a row"])
            gone = connections[1]
            gone.transport.ended = True
            gone.protocol.connection_lost(ConnectionResetError())
            await asyncio.sleep(0)
            written = [len(connection.transport.written) for connection in connections]
            timers = gone.protocol._idle_timer
            for connection in connections:
                await connection.end()
            return written, timers

        assert asyncio.run(ask()) == ([1, 0, 1], None)

    def test_an_exception_after_a_response_does_not_affect_the_batch(
        self, opened, monkeypatch, caplog
    ):
        async def ask():
            connections = self.connections(opened, 3)
            metrics = connections[0].app.metrics
            count, counters = metrics.record, []

            def fails_second(*facts):
                counters.append(facts)
                if len(counters) == 2:
                    raise RuntimeError("not counted")
                count(*facts)

            monkeypatch.setattr(metrics, "record", fails_second)
            first = await self.answers(connections, *[REQUESTS["a row"]] * 3)
            second = await self.answers(connections, *[REQUESTS["a row"]] * 3)
            for connection in connections:
                await connection.end()
            return first, second

        for answers in asyncio.run(ask()):
            assert [status for status, _ in answers] == [200] * 3
        assert [record.message for record in caplog.records] == ["fault"]

    @pytest.mark.parametrize("end", ["eof_received", "shutdown"])
    def test_pending_requests_are_answered_before_the_connection_ends(self, opened, end):
        async def ask():
            connection = ProtocolConnection(opened, fast=True)
            connection.protocol.data_received(REQUESTS["a row"])
            getattr(connection.protocol, end)()
            written = list(connection.transport.written)
            await connection.end()
            return written

        (answer,) = asyncio.run(ask())
        assert answer.startswith(b"HTTP/1.1 200")


class TestIdleness:
    """A connection without a request is closed after the keep-alive time, and at shutdown."""

    async def idle(self, bundle, seconds, *names):
        connection = ProtocolConnection(bundle, fast=True)
        connection.protocol.timeout_keep_alive = seconds
        for each in names:
            connection.protocol.data_received(each)
            await asyncio.sleep(seconds * 0.6)
        return connection

    def test_an_idle_connection_is_closed_after_the_keep_alive_time(self, opened):
        async def ask():
            connection = await self.idle(opened, 0.1, *[REQUESTS["a row"]] * 4)
            before = connection.transport.ended
            await asyncio.sleep(0.1)
            return before, connection.transport.ended

        assert asyncio.run(ask()) == (False, True)

    @pytest.mark.parametrize("last", [REQUESTS["a page"], REQUESTS["a row"][:20]])
    def test_it_stays_open_while_another_timer_is_set(self, opened, last):
        async def ask():
            connection = await self.idle(opened, 0.1, REQUESTS["a row"], last)
            before = connection.transport.ended
            await connection.end()
            return before

        assert asyncio.run(ask()) is False

    def test_it_stays_open_if_a_request_arrives_in_the_same_iteration(self, opened):
        async def ask():
            connection = await self.idle(opened, 0.05, REQUESTS["a row"])
            connection.transport.written.clear()
            connection.protocol._idle_since -= 1
            connection.protocol.data_received(REQUESTS["a row"])
            connection.protocol._close_if_idle()
            before = connection.transport.ended
            await asyncio.sleep(0)
            answers = list(connection.transport.written)
            await asyncio.sleep(0.1)
            return before, answers, connection.transport.ended

        before, (answer,), after = asyncio.run(ask())
        assert answer.startswith(b"HTTP/1.1 200")
        assert (before, after) == (False, True)

    def test_shutdown_closes_an_idle_connection(self, opened):
        async def ask():
            connection = await self.idle(opened, 0.01, REQUESTS["a row"])
            connection.protocol.timeout_keep_alive = 60
            connection.protocol.shutdown()
            return connection.transport.ended

        assert asyncio.run(ask())


def test_invalid_http_is_answered_after_the_request_before_it(opened):
    async def ask():
        connection = ProtocolConnection(opened, fast=True)
        answers = await connection.receive(REQUESTS["a page"] + REQUESTS["no HTTP"])
        await connection.end()
        return answers

    first, second = re.findall(rb"HTTP/1.1 (\d+)", asyncio.run(ask()))
    assert (first, second) == (b"200", b"400")
