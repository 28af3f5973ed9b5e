"""The metrics, parsed with Prometheus' own parser."""

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.serving.app import RequestLimits, make_app
from ml_pipeline.serving.prediction_log import PROBE, LoggedModel, PredictionLog, Rotation
from ml_pipeline.serving.refusals import REASONS
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
    for features in ([1.0, "north"], [None, "west"], ["text", "north"]):
        api.predict(features, headers=own)
    api.request("POST", "/invocations", json={"inputs": [[None, "north"]] * 2}, headers=own)
    found = samples(api)
    assert found[("probes_total",)] == 4
    assert found[("prediction_count",)] == found[("rows_total",)] == 0
    assert not any(value for key, value in found.items() if key[0].startswith("feature_"))
    assert not any(value for key, value in found.items() if key[0] == "refused_total")
    assert ("last_prediction_time_seconds",) not in found
    assert found["request_seconds_count", ("path", "/predict")] == 0
    assert not [key for key in found if key[0] in ("requests_total", "errors_total")]


def feature_counts(found):
    """The counts of missing, out-of-range and unseen values by kind and feature, without zeros."""
    return {
        (name[8:-6], labels[0][1]): value
        for (name, *labels), value in found.items()
        if name.startswith("feature_") and name.endswith("_total") and value
    }


UNUSUAL = [[None, "west"], [9.0, None], [-1.0, " "], [3.0, "north"]]
"""Of the numbers one is missing, one too large and one too small; one category is unseen."""
COUNTED = {
    ("missing", "x"): 1,
    ("out_of_range", "x"): 2,
    ("missing", "c"): 2,
    ("unseen", "c"): 1,
}
COLUMNS = {name: [row[place] for row in UNUSUAL] for place, name in enumerate("xc")}
NAMED = [dict(zip("xc", row, strict=True)) for row in UNUSUAL]
CSV = "x,c\n,west\n9.0,\n-1.0, \n3.0,north\n"
FORMATS = {
    "by position": ("/predict", {"json": {"features": UNUSUAL}}),
    "by name": ("/predict", {"json": {"rows": NAMED}}),
    "split": (
        "/invocations",
        {"json": {"dataframe_split": {"columns": ["x", "c"], "data": UNUSUAL}}},
    ),
    "records": ("/invocations", {"json": {"dataframe_records": NAMED}}),
    "inputs": ("/invocations", {"json": {"inputs": UNUSUAL}}),
    "instances": ("/invocations", {"json": {"instances": COLUMNS}}),
    "csv": ("/invocations", {"content": CSV, "headers": {"content-type": "text/csv"}}),
}


@pytest.fixture
def ranged(make_bundle):
    """Return a bundle of a task whose number had the range 0 to 5 in training."""

    def make(task="binary_classification", unseen="missing"):
        schema = FeatureSchema(
            (
                Feature("x", "numeric", (), 0.0, 5.0, missing=0.25),
                Feature("c", "categorical", ("north", "south"), missing=0.0),
            ),
            unseen,
        )
        return Bundle.open(make_bundle(task, task=task, features=schema.to_json()))

    return make


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_counts_what_training_did_not_have(ranged, state, form):
    api = Api(make_app(ranged(), 3, LIMITS, state))
    path, options = FORMATS[form]
    assert api.request("POST", path, **options).status_code == 200
    found = samples(api)
    assert found[("rows_total",)] == 4
    assert feature_counts(found) == COUNTED


@pytest.mark.parametrize("task", ["regression", "multiclass_classification"])
def test_each_task_counts_what_training_did_not_have(ranged, state, task):
    api = Api(make_app(ranged(task), 3, LIMITS, state))
    assert api.predict(UNUSUAL).status_code == 200
    found = samples(api)
    assert found[("rows_total",)] == 4
    assert feature_counts(found) == COUNTED


def test_single_rows_of_one_call_of_the_model_are_counted_without_probes(ranged, state):
    app = make_app(ranged(), 3, LIMITS, state)

    async def send():
        for number, row in enumerate([*UNUSUAL, *UNUSUAL]):
            fields = [(b"x-request-id", PROBE.encode())] if number > 3 else []
            body = json.dumps({"features": row}).encode()
            assert app.fast_path[b"/predict"].fast_path(fields, body, responses.append)
        await asyncio.sleep(0)

    responses = []
    asyncio.run(send())
    assert [response.status for response in responses] == [200] * 8
    found = samples(Api(app))
    assert found[("rows_total",)] == 4
    assert feature_counts(found) == COUNTED


def test_rows_of_the_thread_are_counted_unless_the_client_got_no_answer(ranged, state, monkeypatch):
    bundle = ranged()
    api = Api(make_app(bundle, 3, LIMITS, state))
    monkeypatch.setattr(api.app._service.inference, "fits_event_loop", lambda rows: False)
    assert api.predict(UNUSUAL).status_code == 200
    assert feature_counts(samples(api)) == COUNTED
    api.app._service.inference._max_seconds = 0.0
    assert api.predict(UNUSUAL).status_code == 503
    assert api.predict(UNUSUAL, headers={"x-request-id": PROBE}).status_code == 503
    found = samples(api)
    assert feature_counts(found) == COUNTED
    assert found["refused_total", ("reason", "load")] == 1


def test_an_unseen_category_that_is_refused_is_counted(ranged, state):
    api = Api(make_app(ranged(unseen="refuse"), 3, LIMITS, state))
    assert api.predict([1.0, "west"]).status_code == 422
    found = samples(api)
    assert feature_counts(found) == {("unseen", "c"): 1}
    assert found["refused_total", ("reason", "features")] == 1
    assert found[("rows_total",)] == 0


@pytest.mark.parametrize(
    ("reason", "request_options"),
    [
        ("authorization", {"json": {"features": [1.0, "north"]}, "headers": {}}),
        ("format", {"content": b"{"}),
        ("format", {"json": {"other": 1}}),
        ("features", {"json": {"features": ["text", "north"]}}),
        ("features", {"json": {"rows": [{"x": 1.0}]}}),
        ("contract", {"json": {"features": [1.0, "north"], "contract": "0" * 64}}),
        ("size", {"json": {"features": [[1.0, "north"]] * 5}}),
        ("content_type", {"content": b"x", "headers": {"content-encoding": "gzip"}}),
    ],
)
def test_refused_requests_by_reason(bundle, state, reason, request_options):
    api = Api(make_app(bundle, 3, LIMITS, state, token="s3cret"))
    sent = {"authorization": "Bearer s3cret"}
    headers = {} if reason == "authorization" else sent | request_options.pop("headers", {})
    answer = api.request("POST", "/predict", **request_options | {"headers": headers})
    assert 400 <= answer.status_code < 500
    found = samples(api, **sent)
    refused = {dict(key[1:])["reason"]: n for key, n in found.items() if key[0] == "refused_total"}
    assert {name for name, n in refused.items() if n} == {reason}
    assert set(refused) == set(REASONS)


def test_the_reference_has_the_reasons():
    page = (Path(__file__).parents[2] / "docs/reference/serving.md").read_text()
    for reason, status in REASONS.items():
        assert f"| `{reason}` | {status} |" in page.replace("`/invocations`", "/invocations")


def test_a_fault_of_the_server_is_no_refusal(bundle, state, monkeypatch):
    api = Api(make_app(bundle, 3, LIMITS, state))
    monkeypatch.setattr(bundle, "predict_list", lambda encoded: 1 / 0)
    assert api.predict([1.0, "north"]).status_code == 500
    found = samples(api)
    assert not any(value for key, value in found.items() if key[0] == "refused_total")
    assert found["errors_total", ("path", "/predict"), ("status", "500")] == 1


def test_what_an_alert_needs_to_know_of_the_training(ranged, state):
    found = samples(Api(make_app(ranged(), 3, LIMITS, state)))
    assert found["training_missing_ratio", ("feature", "x")] == 0.25
    assert found["training_missing_ratio", ("feature", "c")] == 0
    trained_to = datetime(2024, 3, 1, tzinfo=UTC)
    assert found[("training_end_time_seconds",)] == trained_to.timestamp()


@pytest.mark.parametrize("end", [None, "20240301", "412"])
def test_a_training_without_dates_has_no_age(make_bundle, state, end):
    bundle = Bundle.open(make_bundle(cutoffs={"train_end": end}))
    assert ("training_end_time_seconds",) not in samples(Api(make_app(bundle, 3, LIMITS, state)))


def test_the_time_of_the_last_prediction(api):
    assert ("last_prediction_time_seconds",) not in samples(api)
    before = time.time()
    api.predict([1.0, "north"])
    api.predict(["text", "north"])
    assert before <= samples(api)[("last_prediction_time_seconds",)] <= time.time()


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
