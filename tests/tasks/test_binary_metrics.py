"""Each metric against scikit-learn's, day by day and resampled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.core.errors import UsageError
from ml_pipeline.tasks import binary_metrics as metrics
from ml_pipeline.tasks.metrics import named
from sklearn import metrics as known

ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 20), st.integers(0, 3)), min_size=2, max_size=60
)


def columns(rows):
    labels, scores, days = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return labels, 0.02 + scores / 21, days.astype(np.int64)


@given(ROWS)
def test_row_metrics_are_scikit_learns(rows):
    y, p, _ = columns(rows)
    assert metrics.log_loss(y, p) == pytest.approx(known.log_loss(y, p, labels=[0, 1]))
    assert metrics.brier_score(y, p) == pytest.approx(((y - p) ** 2).mean())
    assert metrics.accuracy(y, p) == known.accuracy_score(y, (p >= 0.5).astype(float))


@given(ROWS)
def test_auc_is_scikit_learns_with_ties(rows):
    y, p, _ = columns(rows)
    if len(np.unique(y)) < 2:
        assert np.isnan(metrics.auc(y, p))
    else:
        assert metrics.auc(y, p) == pytest.approx(known.roc_auc_score(y, p))


@given(ROWS)
def test_within_day_auc_is_the_mean_of_the_days_that_have_both_classes(rows):
    y, p, day = columns(rows)
    both = [d for d in np.unique(day) if len(np.unique(y[day == d])) == 2]
    days, values = metrics.METRICS["within_day_auc"].per_day(y, p, day)
    assert days.tolist() == both
    for d, found in zip(days, values, strict=True):
        assert found == pytest.approx(known.roc_auc_score(y[day == d], p[day == d]))
    if both:
        assert metrics.within_day_auc(y, p, day) == pytest.approx(values.mean())
    else:
        assert np.isnan(metrics.within_day_auc(y, p, day))


def test_within_day_auc_ignores_shifts_of_a_whole_day():
    rng = np.random.default_rng(1)
    day = np.repeat(np.arange(40), 30)
    market = rng.normal(size=40)[day]
    y = (market + rng.normal(size=1200) > 0).astype(float)
    knows_only_the_market = 1 / (1 + np.exp(-market))
    assert metrics.auc(y, knows_only_the_market) > 0.7
    assert metrics.within_day_auc(y, knows_only_the_market, day) == 0.5


def test_a_certain_prediction_that_is_wrong_costs_a_finite_loss():
    assert metrics.log_loss(np.array([0.0]), np.array([1.0])) == pytest.approx(36.04, abs=0.01)


def test_calibration_error_of_a_calibrated_and_of_a_shifted_model():
    rng = np.random.default_rng(2)
    p = rng.uniform(0.2, 0.8, 40_000)
    y = (rng.uniform(size=40_000) < p).astype(float)
    assert metrics.calibration_error(y, p) < 0.01
    assert metrics.calibration_error(y, p + 0.1) == pytest.approx(0.1, abs=0.01)


def test_calibration_error_of_one_prediction_for_all_is_the_distance_from_the_rate():
    y = np.array([1.0, 0, 0, 0])
    assert metrics.calibration_error(y, np.full(4, 0.35)) == pytest.approx(0.10)


@given(ROWS)
def test_drawn_once_each_the_clusters_give_the_value_of_the_whole(rows):
    y, p, day = columns(rows)
    codes = np.unique(day, return_inverse=True)[1]
    once = np.ones((1, codes.max() + 1))
    for name in metrics.METRICS:
        found = metrics.METRICS[name].statistic(y, p, codes, codes.max() + 1)(once)[0]
        assert found == pytest.approx(metrics.METRICS[name].value(y, p, codes), nan_ok=True)


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_no_rows_have_no_value(name):
    nothing = np.array([])
    assert np.isnan(metrics.METRICS[name].value(nothing, nothing, nothing.astype(np.int64)))


@pytest.mark.parametrize("name", ["auc", "calibration_error"])
def test_metrics_of_the_whole_sample_have_no_value_for_a_day(name):
    with pytest.raises(ValueError, match="no value for a single day"):
        metrics.METRICS[name].per_day(np.ones(2), np.ones(2), np.zeros(2, dtype=np.int64))


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'log_loss'") as raised:
        named(metrics.METRICS, "logloss", "gate.metric")
    assert raised.value.fault == "gate.metric: unknown metric 'logloss'"
