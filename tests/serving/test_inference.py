"""A slow model: waiting is bounded, and the rest of the server keeps responding."""

import asyncio
import threading
import time

import pytest
from ml_pipeline.serving.app import RequestLimits, make_app
from ml_pipeline.serving.feature_counts import FeatureCounts
from ml_pipeline.serving.inference import Inference

from tests.serving.conftest import Api

ROW = [1.0, "north"]


def limits(queue, seconds=60.0):
    return RequestLimits(max_body=100_000, max_rows=1_000, max_queue=queue, max_seconds=seconds)


def send_concurrently(api, *more, number):
    async def gather():
        body = {"features": ROW}
        return await asyncio.gather(
            *(api.send("POST", "/predict", json=body) for _ in range(number)),
            *(api.send(*each) for each in more),
        )

    return asyncio.run(gather())


def test_beyond_the_queue_requests_are_429_at_once(bundle, state, slow):
    slow.seconds = 0.2
    api = Api(make_app(bundle, 3, limits(queue=3), state))
    before = slow.calls
    answers = send_concurrently(api, number=8)
    assert sorted(each.status_code for each in answers) == [200] * 3 + [429] * 5
    refused = [each for each in answers if each.status_code == 429]
    assert all(int(each.headers["retry-after"]) >= 1 for each in refused)
    assert slow.calls - before == 3, "those that are refused do not reach the model"
    assert api.predict(ROW).status_code == 200, "the queue is empty again"


def test_a_request_that_waits_too_long_is_503(bundle, state, slow):
    api = Api(make_app(bundle, 3, limits(queue=9, seconds=0.2), state))
    slow.free.clear()
    answers = send_concurrently(api, number=3)
    assert [each.status_code for each in answers] == [503] * 3
    assert all(each.headers["retry-after"] == "1" for each in answers)
    assert "0.2 s" in answers[0].json()["error"]
    slow.free.set()


def test_a_model_that_hangs_fills_the_queue_and_nothing_else(bundle, state, slow):
    api = Api(make_app(bundle, 3, limits(queue=2, seconds=0.1), state))
    slow.free.clear()
    assert {each.status_code for each in send_concurrently(api, number=2)} == {503}
    *refused, live = send_concurrently(api, ("GET", "/health/live"), number=4)
    assert {each.status_code for each in refused} == {429}
    assert live.status_code == 200
    calls = slow.calls
    slow.free.set()
    api.app._service.inference._max_seconds = 60.0
    deadline = time.monotonic() + 60
    while api.app.metrics.queue() and time.monotonic() < deadline:
        asyncio.run(asyncio.sleep(0.01))
    assert api.predict(ROW).status_code == 200
    assert slow.calls == calls + 1, "the requests that were given up were not run"


def test_quick_requests_overtake_slow_ones(bundle, state, monkeypatch):
    quick, free = bundle.predict_list, threading.Event()

    def by_size(encoded):
        if len(encoded) > 100:
            free.wait(60)
        return quick(encoded)

    monkeypatch.setattr(bundle, "predict_list", by_size)
    api = Api(make_app(bundle, 3, limits(queue=9), state))
    api.app._service.inference._row_seconds = 0.0001

    async def both():
        many = asyncio.create_task(api.send("POST", "/predict", json={"features": [ROW] * 200}))
        await asyncio.sleep(0.1)
        one = await api.send("POST", "/predict", json={"features": ROW})
        done = many.done()
        free.set()
        return one, done, await many

    one, done, many = asyncio.run(both())
    assert (one.status_code, done, many.status_code) == (200, False, 200)
    assert len(many.json()) == 200


def test_a_schema_error_in_the_thread_is_422(bundle, state, slow):
    api = Api(make_app(bundle, 3, limits(queue=3), state))
    response = api.predict(["text", "north"])
    assert response.status_code == 422
    assert "'x'" in response.json()["error"]


@pytest.mark.parametrize("fault", [RuntimeError, MemoryError])
def test_a_fault_in_the_thread_is_a_500_and_the_thread_goes_on(bundle, state, slow, fault):
    api = Api(make_app(bundle, 3, limits(queue=3), state))

    class Broken:
        def wait(self, seconds):
            slow.free = whole
            raise fault("secret")

    whole, slow.free = slow.free, Broken()
    response = api.predict(ROW)
    assert response.status_code == 500
    assert "secret" not in response.text
    assert api.predict(ROW).status_code == 200


def test_waiting_for_the_cpu_does_not_make_a_model_slow(bundle, monkeypatch):
    quick = bundle.predict_list

    def without_processor(encoded):
        time.sleep(0.01)
        return quick(encoded)

    monkeypatch.setattr(bundle, "predict_list", without_processor)
    counts = FeatureCounts(bundle.schema)
    inference = Inference(bundle, counts, max_queue=1, max_seconds=1.0)
    inference.predict_inline([ROW], probe=False)
    assert inference.fits_event_loop(1)
