"""Regression: its interval, metrics, answers, record and baselines."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.core.errors import Refused
from ml_pipeline.tasks import regression_metrics as metrics
from ml_pipeline.tasks.loader import load_task, read_task
from ml_pipeline.tasks.regression import Regression, fewest_rows, half_width
from sklearn import metrics as known

VALUES = st.floats(-100, 100, allow_nan=False).map(lambda value: round(value, 2))
ROWS = st.lists(st.tuples(VALUES, VALUES, st.integers(0, 3)), min_size=2, max_size=40)
FITTED = Regression(mean=10.0, scale=4.0, half_width=2.5, bounds=(8.0, 10.0, 12.0))


def columns(rows):
    labels, predictions, days = (np.array(each, dtype=float) for each in zip(*rows, strict=True))
    return labels, predictions, days.astype(np.int64)


@given(ROWS)
def test_metrics_are_scikit_learns(rows):
    y, x, day = columns(rows)
    found = {name: metric.value(y, x, day) for name, metric in metrics.METRICS.items()}
    assert found["mae"] == pytest.approx(known.mean_absolute_error(y, x))
    assert found["mse"] == pytest.approx(known.mean_squared_error(y, x))
    assert found["rmse"] == pytest.approx(known.root_mean_squared_error(y, x))
    if np.ptp(y) > 0:
        assert found["r2"] == pytest.approx(known.r2_score(y, x), rel=1e-6)
    low, high = (metrics.pinball(y, x, quantile).mean() for quantile in (0.05, 0.95))
    assert low == pytest.approx(known.mean_pinball_loss(y, x, alpha=0.05))
    assert high == pytest.approx(known.mean_pinball_loss(y, x, alpha=0.95))


@given(ROWS)
def test_drawn_once_each_the_clusters_give_the_value(rows):
    y, x, day = columns(rows)
    codes = np.unique(day, return_inverse=True)[1]
    once = np.ones((1, codes.max() + 1))
    for metric in FITTED.metrics.values():
        if metric.name == "r2" and np.ptp(y) == 0:
            continue
        found = metric.statistic(y, x, codes, codes.max() + 1)(once)[0]
        assert found == pytest.approx(metric.value(y, x, day), rel=1e-6, abs=1e-9)


class TestInterval:
    def test_it_covers_new_rows_as_often_as_it_aims_at(self):
        rng = np.random.default_rng(5)
        covered = []
        for _ in range(2000):
            errors = np.abs(rng.normal(size=60))
            covered.append(abs(rng.normal()) <= half_width(errors, 0.9))
        assert 0.89 <= np.mean(covered) <= 0.93

    @pytest.mark.parametrize(("count", "rank"), [(9, 9), (19, 18), (99, 90)])
    def test_the_half_width_is_the_conformal_quantile(self, count, rank):
        assert half_width(np.arange(1.0, count + 1), 0.9) == rank

    def test_too_few_validation_rows_are_refused(self):
        assert fewest_rows(0.9) == 9
        FITTED.check_part("validation", np.arange(9.0))
        with pytest.raises(Refused, match="validation part has 8 rows; expected at least 9"):
            FITTED.check_part("validation", np.arange(8.0))


class TestAnswer:
    def test_it_is_the_number_and_its_interval(self):
        assert FITTED.answer(11.0) == {"prediction": 11.0, "interval": [8.5, 13.5]}

    @given(VALUES)
    def test_it_is_read_back(self, value):
        assert FITTED.read(json.loads(json.dumps(FITTED.answer(value)))) == value

    @pytest.mark.parametrize(
        "answer",
        [
            {},
            {"probability": 0.5},
            {"prediction": "1", "interval": [0, 2]},
            {"prediction": True, "interval": [0, 2]},
            {"prediction": math.nan, "interval": [0, 2]},
            {"prediction": 1.0},
            {"prediction": 1.0, "interval": [0.0]},
            {"prediction": 1.0, "interval": [2.0, 3.0]},
        ],
    )
    def test_other_values_are_not_a_response(self, answer):
        with pytest.raises(ValueError, match=r"answer holds no|outside its interval"):
            FITTED.read(answer)

    def test_scores_have_three_columns(self):
        table = pd.DataFrame(FITTED.score_values(np.array([1.0, 2.0])))
        assert table.columns.tolist() == [*FITTED.score_columns]
        assert table.iloc[0].tolist() == [1.0, -1.5, 3.5]


class TestRecord:
    def test_it_is_read_back(self):
        assert read_task(json.loads(json.dumps(FITTED.to_json()))) == FITTED

    @pytest.mark.parametrize(
        "change",
        [
            {"scale": 0.0},
            {"half_width": -1.0},
            {"half_width": math.inf},
            {"coverage": 1.0},
            {"bins": [2.0, 1.0]},
            {"bins": ["1"]},
            {"more": 1},
        ],
    )
    def test_a_wrong_one_is_refused(self, change):
        with pytest.raises(Refused, match="record of the model"):
            read_task(FITTED.to_json() | change)


class TestLabels:
    def test_labels_beyond_float32_resolution_are_refused(self):
        FITTED.check_labels(np.array([1000.0, 1001.0]))
        with pytest.raises(Refused, match="seven digits"):
            FITTED.check_labels(np.array([1e9, 1e9 + 1]))

    def test_equal_labels_cannot_be_learned(self):
        assert FITTED.training_fault(np.array([3.0, 3.0])) == "have the label 3"
        assert not FITTED.training_fault(np.array([3.0, 4.0]))


def test_the_last_value_is_that_of_the_entity_in_training():
    train = pd.DataFrame(
        {
            "__time": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-02"]),
            "__entity": ["a", "a", "b"],
            "__label": [1.0, 2.0, 4.0],
        }
    )
    rows = pd.DataFrame({"__entity": ["b", "a", "new"]})
    found = load_task("regression").dated_baselines(train, rows)
    assert found["last_value"].tolist() == [4.0, 2.0, 3.0]


def test_margins_are_shares_of_the_labels_spread():
    labels = np.array([0.0, 2.0, 4.0, 6.0])
    assert FITTED.margin_unit("mae", labels) == 2.0
    assert FITTED.margin_unit("mse", labels) == 5.0


def test_only_labels_of_a_regression_are_standardised_for_estimators():
    assert FITTED.label_scale == (10.0, 4.0)
    others = ("binary_classification", "multiclass_classification")
    assert [load_task(name).label_scale for name in others] == [None, None]
