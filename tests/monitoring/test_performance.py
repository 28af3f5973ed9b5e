"""Performance in production: estimated, realised, by group, and of replaced versions."""

from dataclasses import replace

import numpy as np
import pytest
from ml_pipeline.evaluation.metric_table import measure
from ml_pipeline.gate.expected_performance import ExpectedPerformance, expected_performance
from ml_pipeline.monitoring.labelled_rows import LabelledRows
from ml_pipeline.monitoring.performance import (
    Performance,
    against_other,
    estimated,
    is_as_expected,
    realised,
    realised_by_group,
)
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.tasks.multiclass_classification import MulticlassClassification
from ml_pipeline.tasks.regression import Regression

OTHER = "e" * 64


def world(seed, *, days=30, rows=20, flip=0.0, first=20_000):
    """Return labelled rows of calibrated predictions; a share of the labels is turned round."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.1, 0.9, days * rows)
    labels = (rng.random(len(truth)) < truth).astype(float)
    labels = np.where(rng.random(len(truth)) < flip, 1 - labels, labels)
    sides = ["left" if place % 2 else "right" for place in range(len(truth))]
    return LabelledRows(
        labels,
        truth,
        first + np.repeat(np.arange(days), rows),
        {"side": sides},
        {OTHER: np.full(len(truth), 0.5)},
    )


def gate(rows, metric="log_loss", task=BINARY):
    """Return what the gate would have recorded of such rows."""
    import pandas as pd

    sample = rows.sample(task)
    table = measure(sample, {"model": rows.predictions}, resamples=100, seed=1)["model"]
    features = pd.DataFrame({name: list(values) for name, values in rows.groups.items()})
    return expected_performance(
        metric, sample, rows.predictions, table[metric], features, [*rows.groups]
    )


class TestRealised:
    @pytest.mark.parametrize("metric", ["log_loss", "brier_score", "accuracy", "within_day_auc"])
    def test_performance_as_expected_is_not_worse(self, metric):
        expected = gate(world(1, days=60), metric)
        found = realised(world(2), BINARY, metric, expected)
        assert found.low < found.value < found.high
        assert (found.rows, found.days, found.why) == (600, 30, "")
        assert (found.since, found.until) == ("2024-10-04", "2024-11-02")
        assert found.p_value > 0.01
        assert is_as_expected(BINARY.metrics[metric], found, expected) is True

    @pytest.mark.parametrize("metric", ["log_loss", "brier_score", "accuracy", "within_day_auc"])
    def test_performance_that_is_worse_is_found(self, metric):
        expected = gate(world(1, days=60), metric)
        found = realised(world(2, flip=0.4), BINARY, metric, expected)
        assert found.p_value < 1e-4
        assert is_as_expected(BINARY.metrics[metric], found, expected) is False

    def test_performance_that_is_better_is_no_fault(self):
        expected = gate(world(1, flip=0.4))
        found = realised(world(2), BINARY, "log_loss", expected)
        assert found.p_value > 0.99
        assert is_as_expected(BINARY.metrics["log_loss"], found, expected) is True

    def test_the_test_errs_as_often_as_it_says(self):
        """Both samples are uncertain: the gate's and that of production."""
        wrong = [
            realised(world(seed), BINARY, "log_loss", gate_of(seed)).p_value <= 0.05
            for seed in range(1000, 1150)
        ]
        assert 0.0 < np.mean(wrong) <= 0.09

    def test_a_single_day_has_no_interval_and_is_tested_by_the_variance_of_the_gate(self):
        found = realised(world(1, days=1), BINARY, "log_loss", gate(world(2)))
        assert (found.low, found.p_value is not None) == (None, True)

    def test_where_the_gate_knows_no_days_those_of_production_have_to_show_their_variance(self):
        expected = replace(gate(world(1, days=60)), unit="row", units=1200)
        assert realised(world(2, days=1), BINARY, "log_loss", expected).p_value is None
        assert realised(world(2, flip=0.4), BINARY, "log_loss", expected).p_value < 0.01

    def test_a_record_of_an_earlier_version_is_said(self):
        found = realised(world(1), BINARY, "log_loss", None)
        assert found.low is not None
        assert found.p_value is None
        assert "no expected performance" in found.why
        assert is_as_expected(BINARY.metrics["log_loss"], found, None) is None

    def test_without_labels_there_is_nothing(self):
        found = realised(world(1, days=0), BINARY, "log_loss", gate(world(2)))
        assert str(found) == "no label has come"


def test_a_regression_is_compared_by_its_own_metric():
    rng = np.random.default_rng(9)
    task = Regression()

    def rows(scale):
        predictions = rng.normal(size=600)
        labels = predictions + scale * rng.normal(size=600)
        return LabelledRows(labels, predictions, 20_000 + np.repeat(np.arange(30), 20))

    expected = gate(rows(1.0), "mae", task)
    assert expected.calibration is None, "it cannot be estimated"
    assert realised(rows(1.0), task, "mae", expected).p_value > 0.01
    assert realised(rows(2.0), task, "mae", expected).p_value < 1e-3


def gate_of(seed):
    """Return an expectation by 30 other days, without resampling."""
    rows = world(seed + 10_000)
    from ml_pipeline.statistics.unit_mean import unit_mean

    sample = rows.sample(BINARY)
    metric = BINARY.metrics["log_loss"]
    found = unit_mean(*metric.unit_sums(sample.labels, rows.predictions, sample.codes, 30))
    return ExpectedPerformance(
        "log_loss", found.value, None, None, 0.95, "day", 30, 600, found.std_error, found.degrees
    )


class TestGroups:
    def test_a_group_is_compared_with_itself_on_the_rows_of_the_gate(self):
        rows = world(2)
        left = np.array([side == "left" for side in rows.groups["side"]])
        worse = LabelledRows(
            np.where(left, 1 - rows.labels, rows.labels), rows.predictions, rows.days, rows.groups
        )
        found = realised_by_group(worse, BINARY, "log_loss", gate(world(1, days=60)))
        assert found["side = left"].p_value < 1e-4
        assert found["side = right"].p_value > 0.01
        assert found["side = left"].rows == 300

    def test_a_group_that_the_gate_did_not_see_is_shown_without_a_verdict(self):
        rows = world(2)
        rows = LabelledRows(rows.labels, rows.predictions, rows.days, {"side": ["top"] * len(rows)})
        found = realised_by_group(rows, BINARY, "log_loss", gate(world(1)))["side = top"]
        assert found.value is not None
        assert (found.p_value, "no expected performance of this group" in found.why) == (None, True)


class TestEstimated:
    @pytest.mark.parametrize(
        "metric", ["log_loss", "brier_score", "accuracy", "within_day_auc", "auc"]
    )
    def test_calibrated_rows_come_out_as_estimated(self, metric):
        rows = world(3, rows=40)
        found = estimated(rows.predictions, rows.days, BINARY, metric)
        came = realised(rows, BINARY, metric, None) if metric != "auc" else None
        value = BINARY.metrics[metric].value(
            rows.labels, rows.predictions, rows.sample(BINARY).codes
        )
        assert found.low < value < found.high
        assert came is None or came.low < found.value < came.high
        assert "covariate shift only" in found.why
        assert "calibration is left out" in found.why

    def test_what_the_gate_measured_of_calibration_widens_and_moves_it(self):
        rows = world(3)
        expected = gate(world(1, days=60, flip=0.2))
        plain = estimated(rows.predictions, rows.days, BINARY, "log_loss")
        found = estimated(rows.predictions, rows.days, BINARY, "log_loss", expected)
        assert found.value == pytest.approx(plain.value + expected.calibration.bias)
        assert found.high - found.low > plain.high - plain.low
        assert "covariate shift only" in found.why
        assert "calibration as the gate measured it" in found.why

    def test_covariate_shift_is_seen_and_a_changed_relation_is_not(self):
        expected = gate(world(1, days=60))
        rng = np.random.default_rng(4)
        unsure = rng.uniform(0.45, 0.55, 600)  # more rows near 0.5 than in the gate's
        days = np.repeat(np.arange(30), 20)
        shifted = estimated(unsure, days, BINARY, "log_loss", expected)
        assert is_as_expected(BINARY.metrics["log_loss"], shifted, expected) is False
        turned = world(2, flip=0.4)
        same = estimated(turned.predictions, turned.days, BINARY, "log_loss", expected)
        assert is_as_expected(BINARY.metrics["log_loss"], same, expected) is True

    @pytest.mark.parametrize("metric", ["log_loss", "brier_score", "accuracy", "balanced_accuracy"])
    def test_several_classes(self, metric):
        rng = np.random.default_rng(5)
        task = MulticlassClassification(("a", "b", "c"))
        p = rng.dirichlet([1, 1, 1], 900)
        labels = (rng.random(900)[:, None] >= np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)
        found = estimated(p, np.repeat(np.arange(30), 30), task, metric)
        codes = np.repeat(np.arange(30), 30)
        assert found.low < task.metrics[metric].value(labels.astype(float), p, codes) < found.high

    def test_a_regression_has_none_and_says_why(self):
        found = estimated(np.ones(10), np.zeros(10, dtype=int), Regression(), "mae")
        assert found.value is None
        assert "predicts no distribution of its label" in found.why

    def test_calibration_itself_is_taken_for_granted(self):
        found = estimated(np.full(10, 0.4), np.zeros(10, dtype=int), BINARY, "calibration_error")
        assert "takes for granted" in found.why


class TestReplacedVersions:
    def test_both_versions_are_compared_on_the_same_rows(self):
        rows = world(2)
        other, mine, test = against_other(rows, BINARY, "log_loss", OTHER)
        assert other.value == pytest.approx(np.log(2))
        assert mine.value < other.value
        assert (other.rows, mine.rows, test.n) == (600, 600, 30)
        assert test.effect < 0
        assert test.p_value > 0.99

    def test_rows_that_the_other_did_not_predict_are_left_out_for_both(self):
        rows = world(2)
        theirs = rows.others[OTHER].copy()
        theirs[:100] = np.nan
        rows = LabelledRows(rows.labels, rows.predictions, rows.days, {}, {OTHER: theirs})
        other, mine, test = against_other(rows, BINARY, "log_loss", OTHER)
        assert (other.rows, mine.rows, test.n) == (500, 500, 25)

    def test_a_replaced_version_that_is_better_is_found(self):
        rows = world(2)
        swapped = LabelledRows(
            rows.labels, rows.others[OTHER], rows.days, {}, {OTHER: rows.predictions}
        )
        assert against_other(swapped, BINARY, "log_loss", OTHER)[2].p_value < 0.01


def test_a_performance_is_shown_with_its_interval():
    assert str(Performance("mae", 0.5, 0.4, 0.6)) == "0.5000 [0.4000, 0.6000]"
    assert str(Performance("mae", 0.5)) == "0.5000"
