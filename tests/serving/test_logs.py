"""The server's log: JSON lines that can be found by the request's id."""

import io
import json
import logging

import pytest
from ml_pipeline.serving import logs
from ml_pipeline.serving.app import RequestLimits, make_app

from tests.serving.conftest import Api

LIMITS = RequestLimits(max_body=2_000, max_rows=4)


@pytest.fixture
def written():
    """What is logged from here on, line by line."""
    root, own = logging.getLogger(), logging.getLogger("ml_pipeline.serving")
    before = root.handlers[:], root.level, own.level
    for handler in before[0]:
        root.removeHandler(handler)
    stream = io.StringIO()
    logs.configure(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level, own.level = before


@pytest.fixture
def api(bundle, state):
    return Api(make_app(bundle, 3, LIMITS, state))


class TestRequestId:
    @pytest.mark.parametrize("client_id", ["a", "4bf92f35-77b3", "x" * 128, "A.b_c:d/e+f=@"])
    @pytest.mark.parametrize("path", ["/predict", "/metadata", "/no-such-path"])
    def test_a_well_formed_id_is_returned(self, api, client_id, path):
        method = "POST" if path == "/predict" else "GET"
        response = api.request(method, path, headers={"x-request-id": client_id})
        assert response.headers["x-request-id"] == client_id

    @pytest.mark.parametrize(
        "client_id", [b"", b"x" * 129, b"a b", b"a\tb", "ä".encode(), b'"', b"<a>"]
    )
    def test_an_invalid_id_is_replaced(self, api, client_id):
        response = api.predict([1.0, "north"], headers={"x-request-id": client_id})
        assert response.headers["x-request-id"].encode() != client_id
        assert len(response.headers["x-request-id"]) < 40

    def test_generated_ids_are_unique(self, api):
        ids = {api.predict([1.0, None]).headers["x-request-id"] for _ in range(20)}
        assert len(ids) == 20


class TestLines:
    def test_successful_requests_are_not_logged_by_default(self, api, written):
        api.predict([1.0, "north"])
        api.get("/metadata")
        assert written() == []

    def test_with_a_share_of_one_every_request_is_logged(self, bundle, state, written):
        api = Api(make_app(bundle, 3, LIMITS, state, log_requests=1.0))
        api.predict([1.0, "north"], headers={"x-request-id": "this-one"})
        (line,) = written()
        assert set(line) == {
            *("time", "level", "message", "request_id", "method", "path", "status", "seconds")
        }
        assert (line["level"], line["request_id"], line["status"]) == ("info", "this-one", 200)
        assert line["time"].endswith("+00:00")

    def test_a_share_of_the_requests_is_logged(self, bundle, state, written):
        api = Api(make_app(bundle, 3, LIMITS, state, log_requests=0.5))
        for _ in range(100):
            api.get("/health/live")
        assert 20 < len(written()) < 80

    def test_a_refused_request_is_logged_with_the_reason(self, api, written):
        response = api.predict(["text", "north"])
        (line,) = written()
        assert (line["level"], line["status"]) == ("warning", 422)
        assert line["error"] == response.json()["error"]
        assert line["request_id"] == response.headers["x-request-id"]

    def test_refused_requests_do_not_fill_the_disk(self, api, written, monkeypatch):
        monkeypatch.setattr(logs.time, "monotonic", lambda: 7.5)
        for _ in range(logs.MAX_REFUSED_LINES + 20):
            api.get("/no-such-path")
        assert len(written()) == logs.MAX_REFUSED_LINES
        monkeypatch.setattr(logs.time, "monotonic", lambda: 8.5)
        api.get("/no-such-path")
        assert written()[-1]["left_out"] == 20

    @pytest.mark.parametrize("path", ["/predict", "/metrics"])
    def test_an_internal_error_is_logged_with_traceback_and_request_id(
        self, api, written, monkeypatch, path
    ):
        def broken(*_, **__):
            raise RuntimeError("inside")

        monkeypatch.setattr(api.app._service.inference, "predict_inline", broken)
        monkeypatch.setattr(api.app.metrics, "page", broken)
        method = "POST" if path == "/predict" else "GET"
        response = api.request(method, path, json={"features": [1.0, None]})
        assert response.status_code == 500
        assert "inside" not in response.text
        fault, line = written()
        assert "RuntimeError: inside" in fault["traceback"]
        assert fault["level"] == line["level"] == "error"
        assert fault["request_id"] == line["request_id"] == response.headers["x-request-id"]

    def test_one_line_whatever_a_client_sends(self, api, written):
        api.get("/%0Aforged%22%7D%0A")
        api.predict(["\n\r\u2028", "north"])
        assert [line["status"] for line in written()] == [404, 422]
