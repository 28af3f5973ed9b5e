"""The server's end of a live shadow: it copies, counts, and never blocks."""

import json

import pytest
from ml_pipeline.serving.app import RequestLimits, make_app
from ml_pipeline.serving.mirror import Mirror, decode, socket_pair
from ml_pipeline.serving.prediction_log import PROBE

from tests.serving.conftest import Api


@pytest.fixture
def ends():
    server_end, reader_end = socket_pair()
    with server_end, reader_end:
        yield Mirror(server_end), reader_end


def test_a_copy_holds_the_request_and_its_response(ends):
    mirror, reader = ends
    mirror.offer(b"asked", b"answered", 0.0021, "r-1")
    request_id, body, answer, ms = decode(reader.recv(1 << 16))
    assert (request_id, body, answer) == ("r-1", b"asked", b"answered")
    assert ms == pytest.approx(2.1)


def test_copies_beyond_the_queue_are_dropped_and_counted(ends):
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


def test_a_body_larger_than_the_queue_is_dropped(ends):
    mirror, _ = ends
    mirror.offer(b"x" * (64 << 20), b"y", 0.0, "r-1")
    assert (mirror.offered, mirror.dropped) == (1, 1)


def test_without_a_reader_copies_are_dropped(ends):
    mirror, reader = ends
    reader.close()
    mirror.offer(b"x", b"y", 0.0, "r-1")
    mirror.close()
    mirror.offer(b"x", b"y", 0.0, "r-1")
    assert (mirror.offered, mirror.dropped) == (2, 2)


def test_closing_the_mirror_ends_the_reader(ends):
    mirror, reader = ends
    mirror.close()
    assert reader.recv(1) == b""


def test_a_share_of_the_requests_is_copied():
    server_end, reader_end = socket_pair()
    with server_end, reader_end:
        mirror = Mirror(server_end, share=0.25)
        for _ in range(2000):
            mirror.offer(b"", b"", 0.0, "r-1")
        assert 400 < mirror.offered < 600


@pytest.fixture
def api(bundle, state, ends):
    state.mirror = ends[0]
    return Api(make_app(bundle, 3, RequestLimits(max_body=2_000, max_rows=4), state))


def test_the_answered_predictions_of_clients_are_copied(api, state, ends):
    response = api.predict([1.0, "north"], headers={"x-request-id": "mine"})
    request_id, body, answer, ms = decode(ends[1].recv(1 << 16))
    assert request_id == "mine"
    assert json.loads(body) == {"features": [1.0, "north"]}
    assert answer == response.content
    assert ms > 0
    assert state.mirrored == (1, 0)


def test_refused_requests_and_probes_are_not_copied(api, state):
    assert api.predict([1.0]).status_code == 422
    assert api.predict([1.0, None], headers={"x-request-id": PROBE}).status_code == 200
    body = {"inputs": [[1.0, "north"]]}
    assert api.request("POST", "/invocations", json=body).status_code == 200
    assert state.mirrored == (0, 0)
