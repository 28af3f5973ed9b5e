"""Windows of training days: which rows they hold, and how they are compared."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.config import SplitSection, TrainSection
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.problem import Matrix
from ml_pipeline.training.trained_model import TrainingLimits
from ml_pipeline.training.trainer import train
from ml_pipeline.training.windows import TrainingWindow, windows_of
from pydantic import ValidationError

from tests.training.test_trainer import Shape, quiet

SPLIT = SplitSection(holdout_days=20, validation_days=10, folds=2, fold_days=10)
CHANGE = date(2024, 3, 18)
"""The first day after which the label has the other sign."""


def section(**keys):
    values = {"estimator": "logistic-regression", "min_rows": 50, **keys}
    return TrainSection.model_validate(values)


def changing_matrix(days=130, entities=12):
    """The label is the sign of a number, and from a day on the other one."""
    generator = np.random.default_rng(0)
    count = days * entities
    time = pd.Series(np.repeat(pd.bdate_range("2024-01-01", periods=days), entities))
    signal = generator.normal(size=count).astype(np.float32)
    sign = np.where(time < pd.Timestamp(CHANGE), -1, 1)
    label = (sign * signal + generator.normal(size=count) > 0).astype(float)
    keys = pd.DataFrame(
        {
            "time": time,
            "entity": np.tile([f"e{number}" for number in range(entities)], days),
            "group": "all",
        }
    )
    return Matrix(
        features=pd.DataFrame({"signal": signal}), label=pd.Series(label, name="label"), keys=keys
    )


def run(matrix, keys, *, shape=None, limits=None, change=None):
    frame = matrix.features.assign(label=matrix.label)
    return train(
        matrix,
        frame,
        shape or Shape(),
        SPLIT,
        section(**keys),
        limits or TrainingLimits(),
        quiet,
        change=change,
    )


CANDIDATES = {"windows": ["all", {"days": 30}, {"since": "change"}, {"since": "2024-05-20"}]}


class TestChoice:
    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls):
        return run(changing_matrix(), CANDIDATES, change=CHANGE)

    def test_the_window_of_least_mean_loss_is_trained_on(self, trained):
        means = {str(trial.window): trial.mean for trial in trained.window.trials}
        assert means["all"] > means["{'days': 30}"] + 0.1
        window, trials = trained.window.window, trained.window.trials
        best = min((trial for trial in trials if trial.scores), key=lambda trial: trial.mean)
        assert window.to_json() == best.window
        assert trained.matrix.keys["time"].min().date() >= CHANGE
        assert trained.split.counts()["holdout"] == 20 * 12

    def test_every_candidate_is_in_the_record_and_the_report(self, trained):
        shown = trained.metrics["windows"]
        assert [one["chosen"] for one in shown.values()].count(True) == 1
        assert shown["since 2024-05-20"]["why_not"] == (
            "0 rows in fold 1, fewer than train.min_rows, 50"
        )
        assert [len(trial.rows) for trial in trained.window.trials] == [2, 2, 2, 2]
        (check,) = [one for one in trained.checks if one.name == "training window"]
        assert (check.verdict.value, check.required) == ("pass", False)
        assert "all days: 0." in check.why

    def test_windows_walk_forward_with_the_folds(self, trained):
        days = next(t for t in trained.window.trials if t.window == {"days": 30})
        assert days.rows == (30 * 12, 30 * 12)

    def test_the_holdout_changes_nothing(self, trained):
        matrix = changing_matrix()
        flipped = matrix.label.copy()
        holdout = matrix.keys["time"] >= trained.split.cutoffs.holdout_start
        flipped[holdout] = 1 - flipped[holdout]
        other = run(replace(matrix, label=flipped), CANDIDATES, change=CHANGE)
        assert other.window == trained.window
        assert other.onnx == trained.onnx


class TestOneWindow:
    def test_the_last_days_are_those_before_the_validation_part(self):
        trained = run(changing_matrix(), {"window": {"days": 15}})
        assert trained.split.counts()["train"] == 15 * 12
        everything = run(changing_matrix(), {})
        assert trained.split.cutoffs == everything.split.cutoffs
        assert trained.window.used().title == "the last 15 days"
        assert everything.window.used() is None

    def test_since_a_date(self):
        trained = run(changing_matrix(), {"window": {"since": "2024-03-20"}})
        assert str(trained.matrix.keys["time"].min().date()) == "2024-03-20"
        assert trained.metrics.get("windows") is None

    def test_since_a_change_that_is_not_known_is_all_days(self):
        trained = run(changing_matrix(), {"window": {"since": "change"}})
        assert trained.window.used() is None
        assert [c.observed for c in trained.checks if c.name == "training window"] == ["all days"]

    def test_of_days_that_are_not_trained_on_is_refused(self):
        with pytest.raises(Refused, match="no day to train on is in the window since 2024-06-20"):
            run(changing_matrix(), {"window": {"since": "2024-06-20"}})

    def test_of_undated_rows_is_refused_by_the_name_of_its_key(self):
        for key, value in (("window", {"days": 3}), ("windows", ["all", {"days": 3}])):
            with pytest.raises(UsageError, match=rf"train\.{key} selects days"):
                run(changing_matrix(), {key: value}, shape=Shape(time_column=None))

    def test_since_a_date_needs_dates(self):
        matrix = changing_matrix()
        number = pd.Series(pd.factorize(matrix.keys["time"])[0])
        counted = replace(matrix, keys=matrix.keys.assign(time=number))
        with pytest.raises(UsageError, match="counts its times in numbers"):
            run(counted, {"window": {"since": "2024-03-20"}})
        assert run(counted, {"window": {"days": 15}}).split.counts()["train"] == 15 * 12

    def test_a_quick_run_trains_on_all_days_and_says_so(self):
        limits = TrainingLimits(quick=True, max_epochs=2)
        trained = run(changing_matrix(), CANDIDATES, limits=limits)
        (check,) = [one for one in trained.checks if one.name == "training window"]
        assert (check.verdict.value, check.observed) == ("skipped", "all days")


class TestConfiguration:
    def test_dates_and_changes_are_resolved_and_equals_are_one(self):
        windows = section(windows=["all", {"since": "change"}, {"since": "2024-03-18"}])
        assert windows_of(windows, None) == (
            TrainingWindow(),
            TrainingWindow(since=CHANGE),
        )
        assert windows_of(windows, date(2024, 4, 1))[1] == TrainingWindow(
            since=date(2024, 4, 1), is_change=True
        )

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            ({"window": "newest"}, "all, days: N, or since: DATE"),
            ({"window": {"days": 0}}, "greater than or equal to 1"),
            ({"window": {"days": 3}, "windows": ["all", {"days": 9}]}, "not both"),
            ({"windows": ["all"]}, "two windows or more"),
        ],
    )
    def test_what_is_no_window_is_refused(self, keys, message):
        with pytest.raises(ValidationError, match=message):
            section(**keys)
