"""load-test against running servers: what keeps its SLO, what does not, what cannot be told."""

import pandas as pd
import pytest
from ml_pipeline.core import report, workdir
from ml_pipeline.core.report import ModelRef, Verdict
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.online import load_test as online_load_test
from ml_pipeline.serving.prediction_log import read
from ml_pipeline.stages.runner import execute
from ml_pipeline.targets.base import Placement, deploy
from ml_pipeline.targets.process.target import ProcessTarget
from ml_pipeline.traffic.open_loop import TimedResponse

from tests.servers import free_port


@pytest.fixture
def project(make_project):
    slo = {"rate": 150, "seconds": 1, "warmup": 0.2, "p99_ms": 3000}
    return make_project(environments={"staging": {"port": free_port()}}, load_test=slo)


@pytest.fixture
def load_test(project, make_context):
    return lambda: execute(make_context(project, "load-test", "staging"))


@pytest.fixture
def deployment(project, make_context, make_bundle):
    context = make_context(project, "load-test", "staging")
    context.home.make()
    target, placement = ProcessTarget(), Placement.of(project, "staging", context.home)
    yield deploy(target, placement, make_bundle(), 3)
    target.stop(placement)


def test_what_keeps_its_slo_passes_with_a_plot(load_test, deployment, project):
    result = load_test()
    assert result.exit_code == 0, result.report.summary
    found = result.report
    assert found.metrics["requests"] == 150
    assert found.metrics["rows"]["source"] == "golden"
    assert 0 < found.metrics["latency_ms"]["p50"] <= found.metrics["latency_ms"]["max"]
    assert found.model.digest == deployment.digest
    plot = project.root / "build/ml/pages/load-test-staging.png"
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert found.outputs == {"pages/load-test-staging.png": workdir.digest(plot)}


def test_its_requests_are_logged_as_what_no_client_asked(
    load_test, deployment, project, make_context
):
    context = make_context(project, "load-test", "staging")
    assert load_test().exit_code == 0
    ProcessTarget().stop(Placement.of(project, "staging", context.home))
    logged = [entry for _, entry in read(context.home / "predictions/staging")]
    assert len(logged) > 150
    assert all(entry.is_probe for entry in logged)


def test_the_holdout_is_asked_where_it_is_this_models(load_test, deployment, project):
    folder = Workdir(project.root / "build/ml")
    folder.make()
    rows = pd.DataFrame({"x": [0.5, None, -1.0], "c": ["north", "south", None]})
    rows.to_parquet(folder / "data/holdout.parquet")
    trained = load_test().report.model_copy(
        update={
            "stage": "train",
            "environment": None,
            "outputs": {"data/holdout.parquet": workdir.digest(folder / "data/holdout.parquet")},
            "model": ModelRef(name="small", identity="a" * 64),
        }
    )
    report.write(trained, folder)
    result = load_test()
    assert result.exit_code == 0, result.report.summary
    assert result.report.metrics["rows"] == {"source": "holdout", "different": 3, "a_request": 1}
    assert "data/holdout.parquet" in result.report.inputs


def test_nothing_deployed_says_what_to_do(load_test):
    result = load_test()
    assert result.exit_code == 3
    assert "run 'ml-pipeline deploy staging'" in result.report.summary


def answers(latencies, *, rate=100.0, lag=0.0, status=200, version=3):
    body = b'{"probability": 0.5, "model_version": %d}' % version
    made = []
    for index, latency in enumerate(latencies):
        due = index / rate
        made.append(TimedResponse(due, lag, due + latency, status, body))
    return made


@pytest.fixture
def judge(make_project):
    def judge(found, **section):
        slo = {"rate": 100, "seconds": 5, "warmup": 1, "p99_ms": 100} | section
        config = make_project(load_test=slo).config.load_test
        measured = online_load_test.measure(found, warmup=config.warmup, version=3)
        return {check.name: check for check in online_load_test.checks(measured, config)}

    return judge


def verdicts(checks):
    return {name: check.verdict for name, check in checks.items()}


def test_the_warm_up_does_not_count(judge):
    found = judge(answers([2.0] * 100 + [0.001] * 500))
    assert set(verdicts(found).values()) == {Verdict.PASS}


def test_latency_counts_from_the_scheduled_moment(judge):
    """A stall of a second delays every request that was due meanwhile: coordinated omission."""
    stall = [max(0.001, 1.0 - index / 100) for index in range(100)]
    found = judge(answers([0.001] * 300 + stall + [0.001] * 200))
    assert found["latency"].verdict is Verdict.FAIL
    assert "p99 950.0" in found["latency"].observed  # five of 500 waited longer


@pytest.mark.parametrize("spoiled", [{"status": 503}, {"status": 0}, {"version": 4}])
def test_what_is_no_right_answer_is_an_error(judge, spoiled):
    found = judge(answers([0.001] * 599) + answers([0.001] * 600, **spoiled)[-1:])
    assert found["errors"].verdict is Verdict.FAIL
    assert found["errors"].observed == "1 of 500"


def test_a_server_that_falls_behind_misses_the_throughput(judge):
    behind = [index * 0.002 for index in range(600)]
    found = judge(answers(behind), p99_ms=5000)
    assert verdicts(found)["throughput"] is Verdict.FAIL
    assert verdicts(found)["latency"] is Verdict.PASS


def test_a_client_that_was_late_has_shown_nothing(judge):
    found = judge(answers([0.08] * 600, lag=0.07))
    assert verdicts(found) == {
        "the client kept its rate": Verdict.INCONCLUSIVE,
        "errors": Verdict.PASS,
        "latency": Verdict.INCONCLUSIVE,
        "throughput": Verdict.INCONCLUSIVE,
    }


@pytest.mark.parametrize("count", [0, 150])
def test_too_few_requests_have_shown_nothing(judge, count):
    found = judge(answers([0.001] * count))
    assert report.judge(found.values()) is Verdict.INCONCLUSIVE


def test_limits_that_are_not_required_are_advisory(judge):
    found = judge(answers([1.0] * 600), required=False)
    assert found["latency"].verdict is Verdict.FAIL
    assert not any(check.required for check in found.values())
