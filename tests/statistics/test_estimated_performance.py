"""Estimated performance: where probabilities are calibrated, labels turn out as estimated."""

import numpy as np
import pytest
from ml_pipeline.statistics import estimated_performance as module
from ml_pipeline.statistics.estimated_performance import (
    estimate_by_drawing,
    estimate_mean,
    estimate_share,
    expected_auc_by_day,
    row_moments,
)
from ml_pipeline.tasks.binary_metrics import METRICS, auc
from scipy import stats


def test_the_distribution_of_a_count_with_equal_probabilities_is_the_binomial_one():
    found = estimate_share(np.full(501, 0.3), confidence=0.95)
    low, high = stats.binom.ppf([0.025, 0.975], 501, 0.3) / 501
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.value == pytest.approx(0.3)


def test_many_rows_have_the_exact_interval_too(monkeypatch):
    probabilities = np.random.default_rng(1).beta(1, 8, 1999)
    exact = estimate_share(probabilities, confidence=0.95)
    monkeypatch.setattr(module, "EXACT_ROWS", 10)
    approximate = estimate_share(probabilities, confidence=0.95)
    assert approximate.low == pytest.approx(exact.low, abs=1.01 / 1999)
    assert approximate.high == pytest.approx(exact.high, abs=1.01 / 1999)


def test_the_interval_of_a_mean_loss_covers_what_calibrated_labels_give():
    rng = np.random.default_rng(3)
    p = rng.beta(2, 2, 400)
    loss = METRICS["log_loss"].row_loss
    losses = np.column_stack([loss(np.zeros(400), p), loss(np.ones(400), p)])
    moments = row_moments(losses, np.column_stack([1 - p, p]))
    found = estimate_mean(*moments, confidence=0.95)
    came = [loss((rng.random(400) < p).astype(float), p).mean() for _ in range(400)]
    assert np.mean(came) == pytest.approx(found.value, abs=3 * found.std_error / 20)
    assert np.std(came) == pytest.approx(found.std_error, rel=0.15)
    inside = [found.low <= value <= found.high for value in came]
    assert 0.91 <= np.mean(inside) <= 0.99


def test_the_expected_auc_is_that_of_drawn_labels():
    rng = np.random.default_rng(4)
    p = np.round(rng.beta(2, 3, 600), 2)  # with ties
    expected = expected_auc_by_day(p, np.zeros(600, dtype=np.int64), 1)[0]
    came = [auc((rng.random(600) < p).astype(float), p) for _ in range(200)]
    assert np.mean(came) == pytest.approx(expected, abs=0.005)


def test_days_have_their_own_expected_auc():
    p = np.array([0.2, 0.8, 0.5, 1.0, 1.0])
    found = expected_auc_by_day(p, np.array([0, 0, 1, 2, 2]), 3)
    assert found[0] == pytest.approx(0.64 / (0.64 + 0.04))
    assert np.isnan(found[1:]).all(), "one row, and rows of one class, have no pair"


def test_a_metric_that_is_no_mean_is_estimated_by_drawing_labels():
    rng = np.random.default_rng(6)
    p = rng.dirichlet([1, 1, 1], 500)
    found = estimate_by_drawing(
        lambda labels, predictions, _: float((predictions.argmax(axis=1) == labels).mean()),
        p,
        np.zeros(500, dtype=np.int64),
        confidence=0.95,
    )
    assert found.value == pytest.approx(p.max(axis=1).mean(), abs=0.005)
    assert found.low < found.value < found.high


def test_the_interval_of_many_rows_is_scaled_from_fewer(monkeypatch):
    p = np.random.default_rng(7).beta(2, 2, 4000)
    codes = np.zeros(4000, dtype=np.int64)

    def value(labels, predictions, _):
        return auc(labels, predictions)

    whole = estimate_by_drawing(value, p, codes, confidence=0.95)
    monkeypatch.setattr(module, "DRAWN_ROWS", 1000)
    part = estimate_by_drawing(value, p, codes, confidence=0.95)
    assert part.std_error == pytest.approx(whole.std_error, rel=0.25)


def test_what_no_draw_defines_has_no_estimate():
    one_class = np.ones(50)
    codes = np.zeros(50, dtype=np.int64)
    found = estimate_by_drawing(lambda y, p, _: auc(y, p), one_class, codes, confidence=0.95)
    assert found is None
