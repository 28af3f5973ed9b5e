"""Limits on production's responses after a promotion."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.config import WatchSection
from ml_pipeline.core import report
from ml_pipeline.core.report import Verdict
from ml_pipeline.online import watch
from ml_pipeline.online.metrics_scraper import MetricTotals
from ml_pipeline.serving.server_metrics import SECONDS, Histogram
from ml_pipeline.tasks.base import values_of
from ml_pipeline.tasks.binary_classification import BINS
from ml_pipeline.tasks.multiclass_classification import MulticlassClassification
from ml_pipeline.tasks.regression import Regression

SECTION = WatchSection()
REFERENCE = np.random.default_rng(0).beta(5, 5, 5000)


def buckets(bounds, values):
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    return dict(zip((*bounds, math.inf), map(float, histogram.counts), strict=True))


def totals(statuses=None, *, seconds=(0.005,) * 200, answers=REFERENCE[:200]):
    return MetricTotals(
        instances=1,
        statuses={200: 200} if statuses is None else statuses,
        seconds=buckets(SECONDS, seconds),
        predictions=buckets(BINS, answers),
    )


def judge_counts(counts, section=SECTION, reference=REFERENCE):
    known = None if reference is None else watch.ReferencePredictions(reference)
    checks, metrics = watch.judge(counts, section, known)
    return {check.name: check for check in checks}, metrics, report.judge(checks)


def test_answers_as_in_training_pass():
    checks, metrics, verdict = judge_counts(totals())
    assert verdict is Verdict.PASS
    assert {check.verdict for check in checks.values()} == {Verdict.PASS}
    assert (metrics["requests"], metrics["rows"], metrics["errors"]) == (200, 200, 0)
    assert metrics["distance"] < 0.2


@pytest.mark.parametrize("status", [429, 500, 503])
def test_errors_beyond_the_limit_fail(status):
    assert judge_counts(totals({200: 198, status: 2}))[2] is Verdict.PASS
    checks, _, verdict = judge_counts(totals({200: 197, status: 3}))
    assert verdict is Verdict.FAIL
    assert checks["errors"].observed == "1.50%"
    assert checks["errors"].expected == "at most 1.00%"
    assert checks["errors"].why == f"status {status}: 3"


@pytest.mark.parametrize("status", [400, 408, 413, 415, 422, 431])
def test_refused_requests_are_shown_and_count_against_no_version(status):
    checks, metrics, verdict = judge_counts(totals({200: 190, status: 10}))
    assert checks["refused requests"].verdict is Verdict.PASS
    checks, metrics, verdict = judge_counts(totals({200: 100, status: 100_000}))
    assert checks["refused requests"].verdict is Verdict.FAIL
    assert not checks["refused requests"].required
    assert checks["refused requests"].why == f"status {status}: 100000"
    assert (metrics["requests"], verdict) == (100, Verdict.PASS)
    assert watch.broken_limits(list(checks.values())) == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 422])
def test_requests_that_the_model_does_not_answer_hide_no_error(status):
    checks, metrics, _ = judge_counts(totals({200: 90, 500: 10, status: 100_000}))
    assert metrics["requests"] == 100
    assert checks["errors"].verdict is Verdict.FAIL


def test_a_slow_hundredth_fails():
    checks, metrics, _ = judge_counts(totals(seconds=[0.005] * 196 + [0.4] * 4))
    assert checks["latency"].verdict is Verdict.FAIL
    assert 250 < metrics["p99_ms"] < 500
    assert judge_counts(totals(seconds=[0.005] * 199 + [0.4]))[2] is Verdict.PASS


def test_predictions_unlike_those_of_training_fail():
    checks, metrics, _ = judge_counts(totals(answers=[0.97] * 200))
    assert checks["prediction distribution"].verdict is Verdict.FAIL
    assert metrics["distance"] > 0.9


def test_few_predictions_that_differ_by_chance_roll_nothing_back():
    section = WatchSection(min_requests=20)
    many = totals({200: 2000}, answers=REFERENCE[np.argsort(REFERENCE)[-2000:]])
    assert judge_counts(many, section)[0]["prediction distribution"].verdict is Verdict.FAIL
    mixed = totals({200: 20}, answers=np.quantile(REFERENCE, np.linspace(0.36, 1, 20)))
    checks, metrics, verdict = judge_counts(mixed, section)
    assert metrics["distance"] > section.distance
    assert checks["prediction distribution"].verdict is Verdict.PASS
    assert "chance explains it" in checks["prediction distribution"].why
    assert verdict is Verdict.PASS


def test_the_looks_of_a_watch_share_one_error_rate():
    levels = [watch.significance(100 * 2**k, SECTION) for k in range(40)]
    assert watch.significance(100, SECTION) == levels[0] == watch.significance(199, SECTION)
    assert watch.WRONG_ROLLBACKS * 0.48 < sum(levels) < watch.WRONG_ROLLBACKS / 2


@pytest.mark.parametrize("name", ["regression", "multiclass_classification"])
def test_predictions_of_other_tasks_are_compared_by_their_own_bins(name):
    rng = np.random.default_rng(1)
    if name == "regression":
        trained = rng.normal(50, 10, 5000)
        task = Regression(mean=50.0, scale=10.0).calibrated(
            trained[:100], trained[100:200], trained
        )
        served, shifted = trained[:300], trained[:300] + 15
    else:
        task = MulticlassClassification(("a", "b", "c"))
        trained = rng.dirichlet([5, 3, 2], 5000)
        served, shifted = trained[:300], trained[:300, [2, 0, 1]]
    verdicts = {}
    for key, predictions in (("served", served), ("shifted", shifted)):
        counted = buckets(task.bins, map(task.histogram_value, values_of(predictions)))
        counts = replace(totals({200: 300, 400: 40, 422: 60}), predictions=counted)
        checks, metrics, _ = judge_counts(counts, reference=task.histogram_values(trained))
        assert metrics["requests"] == metrics["rows"] == 300
        verdicts[key] = checks["prediction distribution"].verdict
    assert verdicts == {"served": Verdict.PASS, "shifted": Verdict.FAIL}


@pytest.mark.parametrize(
    ("counts", "reference", "name"),
    [
        (totals(), None, "prediction distribution"),
        (totals(), np.array([]), "prediction distribution"),
        (totals(), np.array([0.5, math.nan]), "prediction distribution"),
        (totals(answers=[]), REFERENCE, "prediction distribution"),
        (totals(seconds=[]), REFERENCE, "latency"),
        (MetricTotals(statuses={200: 200}), REFERENCE, "latency"),
    ],
)
def test_a_figure_that_cannot_be_measured_is_inconclusive(counts, reference, name):
    checks, _, verdict = judge_counts(counts, reference=reference)
    assert checks[name].verdict is Verdict.INCONCLUSIVE
    assert checks[name].why
    assert checks[name].observed.endswith("unknown")
    assert verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("statuses", [{}, {200: 99}, {500: 99}, {401: 5000}, {422: 5000}])
def test_too_few_requests_are_skipped_whatever_their_status(statuses):
    checks, _, verdict = judge_counts(totals(statuses))
    assert verdict is Verdict.SKIPPED
    assert checks["live requests"].verdict is Verdict.INCONCLUSIVE
    assert not checks["live requests"].required
    assert watch.broken_limits(list(checks.values())) == []


class TestQuantile:
    def test_as_histogram_quantile_interpolates(self):
        """Of 10 in (0.1, 0.2] after 90 in [0, 0.1], the 95th of 100 lies halfway."""
        assert watch.quantile({0.1: 90, 0.2: 10, math.inf: 0}, 0.95) == pytest.approx(0.15)
        assert watch.quantile({0.1: 90, 0.2: 10, math.inf: 0}, 0.45) == pytest.approx(0.05)

    def test_beyond_the_largest_bound_it_is_the_largest_bound(self):
        assert watch.quantile({0.1: 1, 10.0: 0, math.inf: 9}, 0.99) == 10

    @pytest.mark.parametrize("empty", [{}, {0.1: 0, math.inf: 0}, {math.inf: 3}])
    def test_an_empty_histogram_has_no_quantile(self, empty):
        assert math.isnan(watch.quantile(empty, 0.99))

    @given(st.lists(st.floats(0, 9), min_size=1, max_size=50))
    def test_lies_in_the_bucket_of_the_quantile(self, values):
        rank = math.ceil(0.99 * len(values))
        exact = sorted(values)[rank - 1]
        estimate = watch.quantile(buckets(SECONDS, values), 0.99)
        upper = min(bound for bound in SECONDS if bound >= exact)
        lower = max((bound for bound in SECONDS if bound < exact), default=0.0)
        assert lower <= estimate <= upper + 1e-12
