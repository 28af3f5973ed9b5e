"""Each clause of the contract fails on a server that breaks it."""

import json

import pytest
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import report
from ml_pipeline.core.errors import EnvironmentFault, Refused
from ml_pipeline.core.report import Verdict
from ml_pipeline.online import api_contract
from ml_pipeline.online.api_contract import ExpectedDeployment, check_contract
from ml_pipeline.serving.app import RequestLimits, ServerProcessState, make_app
from ml_pipeline.traffic.probe import probe
from starlette.responses import JSONResponse

LIMITS = RequestLimits(max_body=5_000, max_rows=10)


@pytest.fixture
def bundle(make_bundle):
    return Bundle.open(make_bundle())


@pytest.fixture
def app(bundle):
    return make_app(bundle, 3, LIMITS, ServerProcessState())


class Changed:
    """An application whose answers to some requests are changed on their way."""

    def __init__(self, app, change):
        self.app, self.change = app, change

    async def __call__(self, scope, receive, send):
        started, body = {}, bytearray()

        async def keep(message):
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                body.extend(message.get("body", b""))

        await self.app(scope, receive, keep)
        answer = json.loads(bytes(body))
        status, changed = self.change(scope["path"], started["status"], answer)
        await JSONResponse(changed, status)(scope, receive, send)


def verdicts(result):
    return {check.name: check.verdict for check in result.checks}


def test_our_server_meets_the_contract(serve, app, bundle):
    serve(app)
    result = check_contract("http://api", ExpectedDeployment(3, bundle.digest, bundle))
    assert set(verdicts(result).values()) == {Verdict.PASS}
    assert {"golden predictions", "NaN", "oversized body", "deployed version"} <= set(
        verdicts(result)
    )
    assert 0 < result.metrics["latency_median_ms"] <= result.metrics["latency_p99_ms"]


def test_an_address_without_a_server_is_an_environment_error():
    with pytest.raises(EnvironmentFault, match="no server responds at"):
        check_contract("http://127.0.0.1:1", ExpectedDeployment())


def test_a_token_is_sent(serve, bundle):
    serve(make_app(bundle, 3, LIMITS, ServerProcessState(), token="s3cret"))
    assert (
        verdicts(check_contract("http://api", ExpectedDeployment(), "s3cret"))["one row"]
        is Verdict.PASS
    )
    assert verdicts(check_contract("http://api", ExpectedDeployment()))["one row"] is Verdict.FAIL


@pytest.mark.parametrize(
    ("expected", "seen"),
    [
        (ExpectedDeployment(4, "d" * 64), "version 3, bundle "),
        (ExpectedDeployment(3, "d" * 64), "version 3, bundle "),
    ],
)
def test_another_version_than_the_deployed_one_fails(serve, app, expected, seen):
    serve(app)
    result = {check.name: check for check in check_contract("http://api", expected).checks}
    assert result["deployed version"].verdict is Verdict.FAIL
    assert seen in result["deployed version"].observed


def plus(amount):
    def change(path, status, answer):
        if path == "/predict" and status == 200 and isinstance(answer, dict):
            answer["probability"] += amount
        return status, answer

    return change


def on(wanted_path, wanted_status, new_status=None, **values):
    def change(path, status, answer):
        if (path, status) == (wanted_path, wanted_status):
            return new_status or status, {**answer, **values} if values else answer
        return status, answer

    return change


def reversed_lists(path, status, answer):
    return status, answer[::-1] if isinstance(answer, list) else answer


def every_list(path, status, answer):
    return status, [] if path == "/predict" and isinstance(answer, list) else answer


NONE = {"metadata", "one row", "NaN", "latency"}


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (on("/health/live", 200, 503), {"live"}),
        (on("/health/ready", 200, 503), {"ready"}),
        (on("/metadata", 200, features=[]), {"metadata", "one row", "NaN"}),
        (on("/metadata", 200, model_version=9), {"deployed version"}),
        (on("/metadata", 200, model_version="three"), {"metadata", "one row"}),
        (on("/metadata", 200, max_rows=True), {"metadata", "too many rows"}),
        (on("/metadata", 200, max_rows=10**15), set()),
        (on("/metadata", 200, features=[{"name": "x", "kind": "numeric", "minimum": "0"}]), NONE),
        (on("/metadata", 200, features=[{"name": "c", "kind": "categorical"}]), NONE),
        (on("/predict", 200, probability=10**400), {"one row", "golden predictions"}),
        (on("/predict", 200, model_version=9), set()),
        (plus(2.0), {"one row", "missing values"}),
        (plus(1e-4), {"list of rows", "golden predictions"}),
        (every_list, {"list of rows", "golden predictions"}),
        (reversed_lists, {"golden predictions"}),
        (on("/predict", 422, 400), {"too few values", "too many values", "wrong type", "NaN"}),
        (on("/predict", 422, 500), {"too few values", "wrong type", "no features"}),
        (on("/predict", 422, error="no"), {"wrong type", "NaN", "unknown name", "missing name"}),
        (on("/predict", 422, 200), {"unknown name", "missing name"}),
        (on("/predict", 409, 200), {"request contract"}),
        (on("/predict", 409, error="another contract"), {"request contract"}),
        (on("/metadata", 200, contract=None), {"metadata", "request contract"}),
        (on("/metadata", 200, contract="0" * 64), {"request contract"}),
        (every_list, {"by name"}),
        (plus(1e-4), {"by name"}),
        (on("/predict", 422, error="Traceback: x, c"), {"wrong type", "too few values"}),
        (on("/predict", 413, 200), {"oversized body", "too many rows"}),
        (on("/predict", 400, 200), {"not JSON"}),
        (on("/no-such-path", 404, 200), {"unknown path"}),
        (on("/predict", 405, 404), {"wrong method"}),
    ],
)
def test_a_server_that_breaks_a_clause_fails_it(serve, app, bundle, change, failing):
    serve(Changed(app, change))
    result = check_contract("http://api", ExpectedDeployment(3, bundle.digest, bundle))
    failed = {name for name, verdict in verdicts(result).items() if verdict is Verdict.FAIL}
    assert failing <= failed
    if failing:
        assert report.judge(result.checks) is Verdict.FAIL


def test_a_slow_server_is_reported_and_does_not_fail(serve, app, monkeypatch):
    monkeypatch.setattr(api_contract, "SLOW_SECONDS", 0.0)
    serve(app)
    result = check_contract("http://api", ExpectedDeployment())
    assert verdicts(result)["latency"] is Verdict.FAIL
    assert report.judge(result.checks) is Verdict.PASS


class TestProbe:
    def test_returns_the_golden_difference(self, serve, app, bundle):
        serve(app)
        assert probe("http://api", bundle, 3) < 1e-6

    @pytest.mark.parametrize("size", [1, 2])
    def test_respects_the_row_limit(self, serve, bundle, size):
        serve(make_app(bundle, 3, RequestLimits(5_000, size), ServerProcessState()))
        assert probe("http://api", bundle, 3) < 1e-6

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (on("/health/ready", 200, 503), "is not ready: status 503"),
            (on("/metadata", 200, digest="d"), "serves version 3, bundle d"),
            (on("/metadata", 200, model_version=None), "serves version None"),
            (plus(1e-3), "a golden prediction is"),
            (every_list, "golden predictions"),
            (on("/predict", 200, 500), "a golden prediction is|status 500"),
        ],
    )
    def test_refuses_what_is_not_this_bundle(self, serve, app, bundle, change, message):
        serve(Changed(app, change))
        with pytest.raises(Refused, match=message):
            probe("http://api", bundle, 3)

    def test_refuses_an_address_without_a_server(self, bundle):
        with pytest.raises(Refused, match="does not answer as a server"):
            probe("http://127.0.0.1:1", bundle, 3)


def test_the_summary_counts_no_skipped_check():
    checks = [
        report.Check(name="raw rows", verdict=Verdict.SKIPPED, why="the bundle takes none"),
        report.Check(name="batch", verdict=Verdict.FAIL, why="status 500"),
    ]
    made = api_contract.summarize("http://127.0.0.1:1", checks, api_contract.ContractResult((), {}))
    assert made == "1 of 2 checks fail, first batch: status 500 (http://127.0.0.1:1)"
