"""The server's end of a live shadow: it copies, counts, and waits for nothing."""

import json

import pytest
from ml_pipeline.serving.app import Limits, make_app
from ml_pipeline.serving.mirror import Mirror, decode, pair
from ml_pipeline.serving.prediction_log import PROBE

from tests.serving.conftest import Api


@pytest.fixture
def ends():
    ours, theirs = pair()
    with ours, theirs:
        yield Mirror(ours), theirs


def test_a_copy_holds_the_request_and_its_answer(ends):
    mirror, reader = ends
    mirror.offer(b"asked", b"answered", 0.0021, "r-1")
    request_id, body, answer, ms = decode(reader.recv(1 << 16))
    assert (request_id, body, answer) == ("r-1", b"asked", b"answered")
    assert ms == pytest.approx(2.1)


def test_what_the_queue_does_not_hold_is_dropped_and_counted(ends):
    mirror, reader = ends
    for _ in range(5000):
        mirror.offer(b"x" * 1000, b"y", 0.0, "r-1")
    assert mirror.offered == 5000
    assert 0 < mirror.dropped < 5000
    for _ in range(mirror.offered - mirror.dropped):
        assert decode(reader.recv(1 << 16))[1] == b"x" * 1000
    reader.setblocking(False)
    with pytest.raises(BlockingIOError):
        reader.recv(1)


def test_a_body_that_no_queue_holds_is_dropped(ends):
    mirror, _ = ends
    mirror.offer(b"x" * (64 << 20), b"y", 0.0, "r-1")
    assert (mirror.offered, mirror.dropped) == (1, 1)


def test_a_reader_that_has_gone_costs_nothing_but_drops(ends):
    mirror, reader = ends
    reader.close()
    mirror.offer(b"x", b"y", 0.0, "r-1")
    mirror.close()
    mirror.offer(b"x", b"y", 0.0, "r-1")
    assert (mirror.offered, mirror.dropped) == (2, 2)


def test_the_reader_sees_the_end(ends):
    mirror, reader = ends
    mirror.close()
    assert reader.recv(1) == b""


def test_a_share_of_the_requests_is_copied():
    ours, theirs = pair()
    with ours, theirs:
        mirror = Mirror(ours, share=0.25)
        for _ in range(2000):
            mirror.offer(b"", b"", 0.0, "r-1")
        assert 400 < mirror.offered < 600


@pytest.fixture
def api(bundle, state, ends):
    state.mirror = ends[0]
    return Api(make_app(bundle, 3, Limits(max_body=2_000, max_rows=4), state))


def test_the_answered_predictions_of_clients_are_copied(api, state, ends):
    answered = api.predict([1.0, "north"], headers={"x-request-id": "mine"})
    request_id, body, answer, ms = decode(ends[1].recv(1 << 16))
    assert request_id == "mine"
    assert json.loads(body) == {"features": [1.0, "north"]}
    assert answer == answered.content
    assert ms > 0
    assert state.mirrored == (1, 0)


def test_what_was_refused_or_no_client_asked_is_not_copied(api, state):
    assert api.predict([1.0]).status_code == 422
    assert api.predict([1.0, None], headers={"x-request-id": PROBE}).status_code == 200
    asked = {"inputs": [[1.0, "north"]]}
    assert api.request("POST", "/invocations", json=asked).status_code == 200
    assert state.mirrored == (0, 0)
