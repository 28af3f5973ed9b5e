"""What a model has to beat, learned on the training part alone."""

import numpy as np
import pytest
from ml_pipeline.core.errors import Refused
from ml_pipeline.evaluation import baselines
from ml_pipeline.evaluation.holdout import Sample


class TestFromSignal:
    def test_a_level_gets_its_share_of_class_1(self):
        train = np.repeat([0.0, 1.0], 5000)
        labels = np.tile([0.0, 0, 0, 1], 2500)
        labels[5000:] = np.tile([1.0, 1, 0, 1], 1250)
        found = baselines.from_signal(train, labels, np.array([0.0, 1.0]))
        assert found == pytest.approx([0.25, 0.75], abs=0.005)

    def test_a_missing_signal_is_a_level(self):
        train = np.array([np.nan] * 4000 + [1.0] * 4000)
        labels = np.r_[np.zeros(4000), np.tile([0.0, 1.0], 2000)]
        assert baselines.from_signal(train, labels, np.array([np.nan]))[0] < 0.01

    def test_what_training_never_saw_gets_the_base_rate(self):
        train, labels = np.zeros(100), np.tile([0.0, 1.0], 50)
        assert baselines.from_signal(train, labels, np.array([np.nan]))[0] == 0.5

    def test_a_rare_level_claims_little(self):
        train, labels = np.r_[np.zeros(998), 1, 1], np.r_[np.tile([0.0, 1.0], 499), 1, 1]
        assert baselines.from_signal(train, labels, np.array([1.0]))[0] < 0.6

    def test_a_continuous_signal_is_cut_at_quantiles(self):
        rng = np.random.default_rng(1)
        signal = rng.normal(size=20_000)
        labels = (rng.uniform(size=20_000) < 1 / (1 + np.exp(-signal))).astype(float)
        found = baselines.from_signal(signal, labels, np.array([-2.0, 0.0, 2.0]))
        assert found == pytest.approx([0.12, 0.5, 0.88], abs=0.06)


class TestLogisticRegression:
    def test_it_finds_a_linear_signal_in_gaps_and_outliers(self):
        rng = np.random.default_rng(2)
        x = rng.normal(size=(4000, 2))
        y = (x[:, 0] + rng.normal(size=4000) > 0).astype(float)
        x[::7, 0], x[::11, 1] = np.nan, 1e9
        found = baselines.linear(x, y, np.array([[2.0, 0], [-2, 0], [np.nan, 0]]), 1)
        assert found[0] > 0.85
        assert found[1] < 0.15
        assert found[2] == pytest.approx(0.5, abs=0.05)

    def test_a_constant_or_empty_column_does_no_harm(self):
        x = np.c_[np.ones(50), np.full(50, np.nan)]
        found = baselines.linear(x, np.tile([0.0, 1.0], 25), x[:1], 1)
        assert found == pytest.approx([0.5])

    def test_one_class_is_refused(self):
        with pytest.raises(Refused, match="one class"):
            baselines.linear(np.ones((4, 1)), np.ones(4), np.ones((1, 1)), 1)


def test_no_training_rows_are_refused():
    with pytest.raises(Refused, match="no labelled row"):
        baselines.constant(np.array([]), 3)


class TestBestHeuristic:
    sample = Sample(np.array([0.0, 1, 0, 1]), np.array([0, 0, 1, 1]), ("a", "b"), "day")

    def best(self, metric, **signals):
        known = {"base_rate": np.full(4, 0.5), "model": self.sample.labels}
        return baselines.best_heuristic(metric, self.sample, known | signals)

    def test_it_is_the_best_by_the_metric_of_the_gate(self):
        good, bad = np.array([0.2, 0.8, 0.2, 0.8]), np.array([0.8, 0.2, 0.8, 0.2])
        assert self.best("log_loss", persistence=good) == "persistence"
        assert self.best("log_loss", persistence=bad) == "base_rate"
        assert self.best("within_day_auc", persistence=good) == "persistence"

    def test_trained_models_are_no_heuristics(self):
        assert self.best("log_loss", logistic_regression=self.sample.labels) == "base_rate"

    def test_none_is_refused(self):
        with pytest.raises(Refused, match="no heuristic"):
            baselines.best_heuristic("log_loss", self.sample, {"model": np.ones(4)})
