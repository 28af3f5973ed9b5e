"""The metrics, parsed with Prometheus' own parser."""

import time

import pytest
from ml_pipeline.serving.app import RequestLimits, make_app
from ml_pipeline.serving.prediction_log import PROBE, LoggedModel, PredictionLog, Rotation
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from tests.serving.conftest import Api

LIMITS = RequestLimits(max_body=2_000, max_rows=4)


@pytest.fixture
def api(bundle, state):
    return Api(make_app(bundle, 3, LIMITS, state))


def samples(api, parser=text_format, **headers):
    response = api.get("/metrics", headers=headers)
    assert response.status_code == 200
    return {
        (sample.name.removeprefix("ml_serving_"), *sorted(sample.labels.items())): sample.value
        for family in parser(response.text)
        for sample in family.samples
    }


def test_requests_and_errors_by_path_and_status(api):
    api.predict([1.0, "north"])
    api.predict([[1.0, "north"], [None, None]])
    api.predict(["text", "north"])
    api.request("POST", "/invocations", json={"inputs": []})
    found = samples(api)
    assert found["requests_total", ("path", "/predict"), ("status", "200")] == 2
    assert found["requests_total", ("path", "/predict"), ("status", "422")] == 1
    assert found["requests_total", ("path", "/invocations"), ("status", "200")] == 1
    assert found["errors_total", ("path", "/predict"), ("status", "422")] == 1
    assert ("errors_total", ("path", "/predict"), ("status", "200")) not in found


def test_latency_by_path_and_predictions_by_row(api):
    api.predict([[1.0, "north"], [None, None], [1.0, "north"]])
    found = samples(api)
    assert found["request_seconds_count", ("path", "/predict")] == 1
    assert found["request_seconds_sum", ("path", "/predict")] > 0
    assert found["request_seconds_bucket", ("le", "10.0"), ("path", "/predict")] == 1
    assert found["prediction_bucket", ("le", "0.5")] == 1
    assert found["prediction_bucket", ("le", "0.85")] == 3
    assert found["prediction_bucket", ("le", "+Inf")] == found[("prediction_count",)] == 3
    assert found[("prediction_sum",)] == pytest.approx(0.5 + 2 * 0.817574, abs=1e-5)


def test_probes_are_counted_in_their_own_metric_only(api):
    own = {"x-request-id": PROBE}
    for features in ([1.0, "north"], ["text", "north"]):
        api.predict(features, headers=own)
    api.request("POST", "/invocations", json={"inputs": [[1.0, "north"]]}, headers=own)
    found = samples(api)
    assert found[("probes_total",)] == 3
    assert found[("prediction_count",)] == 0
    assert found["request_seconds_count", ("path", "/predict")] == 0
    assert not [key for key in found if key[0] in ("requests_total", "errors_total")]


def test_the_start_time_is_that_of_the_application(bundle, state):
    one, other = (samples(Api(make_app(bundle, 3, LIMITS, state))) for _ in range(2))
    began = [found[("start_time_seconds",)] for found in (one, other)]
    assert time.time() - 60 < began[0] < began[1] <= time.time()


def test_the_model_metric_identifies_the_bundle(api, bundle):
    labels = [("digest", bundle.digest), ("model", "small"), ("version", "3")]
    assert samples(api)["model", *labels] == 1


def test_unknown_paths_are_one_time_series(api):
    for number in range(50):
        api.get(f"/made-up/{number}")
    found = samples(api)
    assert found["requests_total", ("path", "other"), ("status", "404")] == 50
    assert not [key for key in found if "made-up" in str(key)]


def test_the_request_itself_is_in_flight_and_the_queue_is_empty(api):
    found = samples(api)
    assert found[("in_flight",)] == 1
    assert found[("queue",)] == 0


def test_dropped_requests_of_prediction_log_and_shadow(bundle, state, tmp_path):
    log = PredictionLog(Rotation(tmp_path), LoggedModel("small", 3, "d", []))
    api = Api(make_app(bundle, 3, LIMITS, state, log=log))
    api.predict([1.0, "north"])
    log.close()
    log._dropped_by_disk, state.offered, state.dropped = 4, 9, 5
    found = samples(api)
    assert found[("prediction_log_written_total",)] == 1
    assert found[("prediction_log_dropped_total",)] == 4
    assert found[("shadow_offered_total",)] == 9
    assert found[("shadow_dropped_total",)] == 5


def test_openmetrics_if_the_scraper_accepts_it(api):
    found = samples(api, openmetrics, accept="application/openmetrics-text; version=1.0.0")
    assert found[("queue",)] == 0
    assert found[("process_resident_memory_bytes",)] > 0


def test_metrics_require_the_token(bundle, state):
    api = Api(make_app(bundle, 3, LIMITS, state, token="s3cret"))
    assert api.get("/metrics").status_code == 401
    assert samples(api, authorization="Bearer s3cret")
