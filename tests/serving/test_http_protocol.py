"""The short way for whole requests: nobody can tell it from uvicorn's, wherever bytes are split."""

import asyncio
import itertools
import json
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.serving import http_protocol, inference, server
from ml_pipeline.serving.app import Limits, State, make_app
from ml_pipeline.serving.http_protocol import BoundedProtocol
from uvicorn.server import ServerState

TOKEN = "t0ken"
SAYS = f"authorization: Bearer {TOKEN}"
LIMITS = Limits(max_body=300, max_rows=3)
DATE = (b"date", b"today")


def request(
    body, *fields, method="POST", target="/predict", version="1.1", token=SAYS, chunks=None, tail=""
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
    "two tokens": request(ROW, SAYS),
    "too large": request(ROW + " " * 300),
    "too large in chunks": request(ROW + " " * 300, chunks=4),
    "in chunks": request(ROWS, chunks=3),
    "with a trailer": request(ROW, chunks=1, tail="x-request-id: late\r\n"),
    "with a token as a trailer": request(ROW, chunks=2, token=None, tail=f"{SAYS}\r\n"),
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
    """What a protocol writes, and the end of its connection."""

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


class Connection:
    """A connection to an application of its own."""

    def __init__(self, bundle, *, short, app=None):
        self.state = State()
        self.app = app or make_app(bundle, 3, LIMITS, self.state, TOKEN)
        if not short:
            self.app.fast_path = {}
        self.server_state = ServerState()
        self.server_state.default_headers = [DATE]
        config = server._config(self.app)
        config.load()
        self.protocol = BoundedProtocol(config=config, server_state=self.server_state, app_state={})
        self.transport = Transport(asyncio.get_running_loop())
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)

    async def give(self, *pieces):
        """Receive the pieces, one an iteration of the loop; return all that was answered."""
        for piece in pieces:
            if not self.transport.ended:
                self.protocol.data_received(piece)
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        return b"".join(self.transport.written)

    async def worked_off(self):
        """Wait until no request of the connection is queued."""
        while self.protocol.has_backlog and not self.transport.ended:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0)

    def counted(self):
        metrics = self.app.metrics
        return metrics._requests, metrics.predictions.counts, self.server_state.total_requests

    async def end(self):
        self.transport.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def as_given(answers):
    """Leave out the ids that the server made up."""
    return re.sub(rb"x-request-id: [0-9a-f]{16}-[0-9a-f]+", b"x-request-id: new", answers)


async def exchange(bundle, pieces, *, short):
    connection = Connection(bundle, short=short)
    answers = await connection.give(*pieces)
    ended, counted = connection.transport.ended, connection.counted()
    await connection.end()
    if BAD_CHUNK in b"".join(pieces):
        counted = None  # whether it counts depends on what had arrived of it
    return as_given(answers), ended, counted


@pytest.fixture(scope="module")
def opened(tmp_path_factory, write_bundle):
    return Bundle.open(write_bundle(tmp_path_factory.mktemp("protocol") / "bundle"))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A row is quick, however busy the machine is."""
    monkeypatch.setattr(inference, "QUICK_SECONDS", 60.0)


def split(content, places):
    """Return the content cut at the places."""
    cuts = sorted({min(place, len(content)) for place in places} | {0, len(content)})
    return [content[start:end] for start, end in itertools.pairwise(cuts)]


PLACES = st.lists(st.integers(min_value=1, max_value=1500), max_size=12)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(asked=st.lists(st.sampled_from(sorted(REQUESTS)), min_size=1, max_size=5), places=PLACES)
@example(asked=["a row", "a page", "rows", "a row"], places=[])
@example(asked=["a page", "no HTTP"], places=[])
@example(asked=["a page", "a head", "a bad chunk"], places=[])
@example(asked=["1.0, keeps alive", "a bad chunk"], places=[])
@example(asked=["a row", "the last one", "a row"], places=[])
@example(asked=["a row", "a row"], places=[30, 31, 100])
def test_answers_do_not_tell_how_they_were_made(opened, asked, places):
    requests = [REQUESTS[each] for each in asked]
    pieces = split(b"".join(requests), places)
    by_uvicorn = asyncio.run(exchange(opened, requests, short=False))
    assert asyncio.run(exchange(opened, requests, short=True)) == by_uvicorn
    assert asyncio.run(exchange(opened, pieces, short=True)) == by_uvicorn


def test_at_every_byte(opened):
    requests = [REQUESTS["a row"], REQUESTS["in chunks"], REQUESTS["no JSON"]]
    content = b"".join(requests)

    async def ask():
        whole = await exchange(opened, requests, short=False)
        for place in range(1, len(content)):
            found = await exchange(opened, [content[:place], content[place:]], short=True)
            assert found == whole, f"split at {place}"
        single = [content[place : place + 1] for place in range(len(content))]
        assert await exchange(opened, single, short=True) == whole

    asyncio.run(ask())


def test_an_upgrade_that_there_is_not_is_left_to_uvicorn(opened):
    asked = [request(ROW, "connection: upgrade", "upgrade: h2c")]
    by_uvicorn = asyncio.run(exchange(opened, asked, short=False))
    assert asyncio.run(exchange(opened, asked, short=True)) == by_uvicorn


def test_the_usual_request_is_answered_in_the_next_turn_of_the_loop_by_one_write(opened):
    async def ask():
        connection = Connection(opened, short=True)
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
def test_what_is_not_usual_is_left_to_uvicorn(opened, why, monkeypatch):
    async def ask():
        connection = Connection(opened, short=True)
        if why == "draining":
            connection.state.draining = True
        elif why == "slow":
            monkeypatch.setattr(inference, "QUICK_SECONDS", 0.0)
        elif why == "crowded":
            connection.protocol.limit_concurrency = 1
        else:
            connection.protocol.pause_writing()
        connection.protocol.data_received(REQUESTS["a row"])
        early = list(connection.transport.written)
        if why == "client reads nothing":
            await connection.give()
            assert connection.transport.written == []
            connection.protocol.resume_writing()
        while not connection.protocol.cycle.response_complete:  # noqa: ASYNC110  # it tells nobody
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
    """Pipelined requests of one connection: answered in order, held in bounded memory."""

    PAGE = request("", method="GET", target="/health/live")

    def test_a_queue_is_bounded_however_much_arrives_in_one_read(self, opened):
        async def ask():
            connection = Connection(opened, short=True)
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
            answers = await connection.give()
            paused = connection.protocol.flow.read_paused
            await connection.end()
            return max(longest), all(reading), paused, answers.count(b"HTTP/1.1 200 OK")

        a_slice = http_protocol.SLICE // len(self.PAGE) + 1
        longest, was_paused, is_paused, answered = asyncio.run(ask())
        assert longest <= http_protocol.MAX_QUEUED + a_slice
        assert was_paused
        assert not is_paused
        assert answered == 3000

    @pytest.mark.parametrize("short", [True, False])
    def test_order_is_kept_over_a_full_queue(self, opened, short):
        asked = [REQUESTS["a page"]] * 40 + [REQUESTS["rows"], REQUESTS["another path"]] * 40
        asked += [REQUESTS["in chunks"], REQUESTS["another method"], REQUESTS["a row"]] * 40

        async def ask(pieces):
            connection = Connection(opened, short=short)
            for piece in pieces:
                connection.protocol.data_received(piece)
                await connection.worked_off()
            answers = await connection.give()
            await connection.end()
            return as_given(answers)

        assert asyncio.run(ask([b"".join(asked)])) == asyncio.run(ask(asked))

    def test_a_request_that_is_split_by_a_full_queue_is_answered(self, opened):
        content = self.PAGE * 500 + request(ROW, "x-note: " + "n" * 6000)

        async def ask():
            connection = Connection(opened, short=True)
            connection.protocol.data_received(content)
            await connection.worked_off()
            answers = await connection.give()
            await connection.end()
            return answers

        answers = asyncio.run(ask())
        assert answers.count(b"HTTP/1.1 200 OK") == 501
        assert answers.rstrip().endswith(b'"model_version":3}')

    def test_what_is_no_http_behind_a_full_queue_is_refused_after_the_answers(self, opened):
        async def ask():
            connection = Connection(opened, short=True)
            connection.protocol.data_received(self.PAGE * 500 + b"nonsense\r\n\r\n" + self.PAGE)
            await connection.worked_off()
            answers = await connection.give()
            assert connection.transport.ended
            return answers

        answers = asyncio.run(ask())
        assert answers.count(b"HTTP/1.1 200 OK") == 500
        assert answers.count(b"HTTP/1.1 400 Bad Request") == 1
        assert answers.endswith(b"Invalid HTTP request received.")

    def test_a_client_that_does_not_read_is_disconnected(self, opened, monkeypatch):
        monkeypatch.setattr(http_protocol, "WRITE_SECONDS", 0.01)

        async def ask(*, reads):
            connection = Connection(opened, short=True)
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

    def test_a_connection_that_is_lost_keeps_nothing(self, opened):
        async def ask():
            connection = Connection(opened, short=True)
            connection.protocol.data_received(self.PAGE * 3000)
            assert connection.protocol.has_backlog
            await connection.end()
            return connection.protocol.has_backlog

        assert not asyncio.run(ask())


class TestTogether:
    """What arrives on several connections in one turn of the loop is one call of the model."""

    @pytest.fixture
    def calls(self, opened, monkeypatch):
        """The numbers of rows with which the model is called, from the first request on."""
        found, model = [], opened.predict_list

        def counted(encoded):
            found.append(len(encoded))
            return model(encoded)

        monkeypatch.setattr(opened, "predict_list", counted)
        return found

    async def answers(self, connections, *asked):
        """Give each connection a request, in one turn; return each answer's status and body."""
        for connection, each in zip(connections, asked, strict=True):
            connection.protocol.data_received(each)
        await asyncio.sleep(0)
        found = []
        for connection in connections:
            head, _, body = b"".join(connection.transport.written).partition(b"\r\n\r\n")
            found.append((int(head[9:12] or 0), json.loads(body or b"null")))
            connection.transport.written.clear()
        return found

    def connections(self, opened, number):
        first = Connection(opened, short=True)
        more = [Connection(opened, short=True, app=first.app) for _ in range(number - 1)]
        return [first, *more]

    def test_each_is_answered_as_if_it_were_alone(self, opened, calls):
        rows = [[number / 10, "north"] for number in range(20)]
        asked = [request(json.dumps({"features": row})) for row in rows]

        async def ask():
            connections = self.connections(opened, len(rows))
            before = len(calls)
            batched = await self.answers(connections, *asked)
            counted = calls[before:]
            alone = [await self.answers(connections[:1], each) for each in asked]
            for connection in connections:
                await connection.end()
            return batched, counted, [each for (each,) in alone]

        batched, counted, alone = asyncio.run(ask())
        assert counted == [20]
        assert [status for status, _ in batched] == [200] * 20
        assert len({told["probability"] for _, told in batched}) == 20
        assert batched == alone

    def test_who_is_refused_is_refused_alone(self, opened, calls):
        schema_error, none = request('{"features": ["text", "north"]}'), request(ROW, token=None)

        async def ask():
            connections = self.connections(opened, 4)
            before = len(calls)
            asked = [REQUESTS["a row"], schema_error, none, REQUESTS["a row"]]
            found = await self.answers(connections, *asked), calls[before:]
            for connection in connections:
                await connection.end()
            return found

        answers, counted = asyncio.run(ask())
        assert [status for status, _ in answers] == [200, 422, 401, 200]
        assert counted == [2]

    def test_a_model_that_fails_is_told_to_all_of_them_and_to_no_one_later(
        self, opened, monkeypatch
    ):
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

    def test_there_is_a_most_of_them(self, opened, calls, monkeypatch):
        monkeypatch.setattr(inference, "TOGETHER", 4)

        async def ask():
            connections = self.connections(opened, 10)
            before = len(calls)
            found = await self.answers(connections, *[REQUESTS["a row"]] * 10), calls[before:]
            for connection in connections:
                await connection.end()
            return found

        answers, counted = asyncio.run(ask())
        assert [status for status, _ in answers] == [200] * 10
        assert counted == [4, 4, 2]

    def test_who_hangs_up_costs_the_others_nothing(self, opened):
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

    def test_a_fault_after_one_answer_costs_the_others_nothing(self, opened, monkeypatch, caplog):
        async def ask():
            connections = self.connections(opened, 3)
            metrics = connections[0].app.metrics
            count, counted = metrics.answered, []

            def fails_second(*facts):
                counted.append(facts)
                if len(counted) == 2:
                    raise RuntimeError("not counted")
                count(*facts)

            monkeypatch.setattr(metrics, "answered", fails_second)
            first = await self.answers(connections, *[REQUESTS["a row"]] * 3)
            second = await self.answers(connections, *[REQUESTS["a row"]] * 3)
            for connection in connections:
                await connection.end()
            return first, second

        for answers in asyncio.run(ask()):
            assert [status for status, _ in answers] == [200] * 3
        assert [record.message for record in caplog.records] == ["fault"]

    @pytest.mark.parametrize("end", ["eof_received", "shutdown"])
    def test_a_connection_that_ends_is_answered_before(self, opened, end):
        async def ask():
            connection = Connection(opened, short=True)
            connection.protocol.data_received(REQUESTS["a row"])
            getattr(connection.protocol, end)()
            written = list(connection.transport.written)
            await connection.end()
            return written

        (answer,) = asyncio.run(ask())
        assert answer.startswith(b"HTTP/1.1 200")


class TestIdleness:
    """A connection without a request is closed after a time, and at the process' end."""

    async def idle(self, bundle, seconds, *asked):
        connection = Connection(bundle, short=True)
        connection.protocol.timeout_keep_alive = seconds
        for each in asked:
            connection.protocol.data_received(each)
            await asyncio.sleep(seconds * 0.6)
        return connection

    def test_it_is_closed_once_it_was_idle_long_enough(self, opened):
        async def ask():
            connection = await self.idle(opened, 0.1, *[REQUESTS["a row"]] * 4)
            before = connection.transport.ended
            await asyncio.sleep(0.1)
            return before, connection.transport.ended

        assert asyncio.run(ask()) == (False, True)

    @pytest.mark.parametrize("last", [REQUESTS["a page"], REQUESTS["a row"][:20]])
    def test_not_while_another_timer_watches_it(self, opened, last):
        async def ask():
            connection = await self.idle(opened, 0.1, REQUESTS["a row"], last)
            before = connection.transport.ended
            await connection.end()
            return before

        assert asyncio.run(ask()) is False

    def test_not_when_a_request_has_come_in_the_same_turn(self, opened):
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

    def test_a_process_that_ends_closes_it(self, opened):
        async def ask():
            connection = await self.idle(opened, 0.01, REQUESTS["a row"])
            connection.protocol.timeout_keep_alive = 60
            connection.protocol.shutdown()
            return connection.transport.ended

        assert asyncio.run(ask())


def test_what_is_no_http_is_answered_after_the_request_before_it(opened):
    async def ask():
        connection = Connection(opened, short=True)
        answers = await connection.give(REQUESTS["a page"] + REQUESTS["no HTTP"])
        await connection.end()
        return answers

    first, second = re.findall(rb"HTTP/1.1 (\d+)", asyncio.run(ask()))
    assert (first, second) == (b"200", b"400")
