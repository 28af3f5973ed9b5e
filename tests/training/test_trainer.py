"""From a matrix to a proven model, and what is refused on the way, each in one line."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.config import SplitSection, TrainSection
from ml_pipeline.core.errors import PipelineError, Refused, UsageError
from ml_pipeline.problem import Matrix
from ml_pipeline.training import parameter_search
from ml_pipeline.training.newest_rows import hashed_rows, newest_rows
from ml_pipeline.training.trained_model import TrainingLimits
from ml_pipeline.training.trainer import recipes_of, train

SPLIT = SplitSection(
    holdout_days=20,
    validation_days=10,
    folds=2,
    fold_days=10,
    quick_holdout_days=8,
    quick_validation_days=4,
)
TRAIN = TrainSection(
    params={"max_depth": 3, "learning_rate": 0.3}, max_epochs=40, patience=10, min_rows=100
)


@dataclass(frozen=True)
class Shape:
    """As much of a problem as training asks for."""

    time_column: str | None = "time"
    cluster_column: str | None = None
    horizon: int = 1
    unseen: str = "missing"


def quiet(what, share):
    pass


def matrix(days=90, entities=12, seed=0):
    """A number that tells half of the label, noise with gaps, and a category with gaps."""
    generator = np.random.default_rng(seed)
    count = days * entities
    signal, noise = generator.normal(size=(2, count)).astype(np.float32)
    noise[generator.random(count) < 0.1] = np.nan
    kind = generator.choice(np.array(["red", "green", None], dtype=object), count)
    score = signal + (kind == "red") + generator.normal(size=count)
    keys = pd.DataFrame(
        {
            "time": np.repeat(pd.bdate_range("2024-01-01", periods=days), entities),
            "entity": np.tile([f"e{number}" for number in range(entities)], days),
            "group": "all",
        }
    )
    label = pd.Series((score > 0).astype(float), name="label")
    label[keys["time"] == keys["time"].max()] = np.nan
    features = pd.DataFrame(
        {"signal": signal, "noise": noise, "kind": pd.Series(kind, dtype=object)}
    )
    return Matrix(features=features, label=label, keys=keys)


def run(
    rows=None, *, shape=None, split=SPLIT, section=TRAIN, limits=None, progress=quiet, frame=None
):
    rows = rows or matrix()
    frame = rows.features.assign(label=rows.label) if frame is None else frame
    return train(
        rows, frame, shape or Shape(), split, section, limits or TrainingLimits(), progress
    )


def verdicts(trained):
    return {check.name: check.verdict.value for check in trained.checks}


class TestTrained:
    def test_a_model_with_its_proof_and_checks(self):
        trained = run()
        assert verdicts(trained) == {
            "rows": "pass",
            "classes": "pass",
            "feature values": "pass",
            "model selection": "skipped",
            "finite fit": "pass",
            "early stopping": "pass",
            "export": "pass",
        }
        assert trained.schema.encoded_names == ("signal", "noise", "kind=green", "kind=red")
        metrics = trained.metrics
        assert metrics["validation_log_loss"] < metrics["validation_log_loss_of_base_rate"] - 0.1
        assert metrics["export_difference"] <= 1e-5
        assert metrics["rows"] == trained.split.counts()
        assert sum(metrics["rows"].values()) == 90 * 12

    def test_the_holdout_changes_nothing_in_the_model(self):
        rows = matrix()
        held = run(rows).split.rows("holdout")
        changed = replace(rows, features=rows.features.copy(), label=rows.label.copy())
        changed.features.loc[held, ["signal", "noise"]] = 99.0
        changed.features.loc[held, "kind"] = "blue"
        changed.label[held] = 1 - changed.label[held]
        first, second = run(rows), run(changed)
        assert first.onnx == second.onnx
        assert first.schema == second.schema

    def test_parity_rows_are_golden_and_random_and_have_gaps(self):
        parity = run().parity
        golden, random = parity[parity["__golden"]], parity[~parity["__golden"]]
        assert (len(golden), len(random)) == (32, 10_000)
        for rows in (golden, random):
            assert rows[["noise", "kind"]].isna().any().all()
        assert random["signal"].isna().mean() == pytest.approx(0.1, abs=0.02)
        assert set(random["kind"].dropna()) == {"red", "green"}
        assert parity["signal"].dtype == np.float32
        seen = run().schema.features[0]
        assert random["signal"].min() < seen.minimum
        assert random["signal"].max() > seen.maximum
        assert parity["__probability"].between(0, 1).all()

    def test_golden_rows_are_real_training_rows(self):
        rows = matrix()
        trained = run(rows)
        real = rows.features.iloc[trained.split.rows("train")]
        golden = trained.parity[trained.parity["__golden"]]
        assert golden["signal"].isin(real["signal"]).all()

    def test_the_reference_has_rows_of_the_fit_and_later_ones_each_with_its_day(self):
        rows = matrix()
        trained = run(rows)
        counts, reference = trained.split.counts(), trained.reference
        features = ["signal", "noise", "kind"]
        assert list(reference) == [*features, "__probability", "__fitted", "__unit"]
        assert reference["__fitted"].sum() == counts["train"]
        assert (~reference["__fitted"]).sum() == counts["validation"] + counts["holdout"]
        days = rows.keys["time"].to_numpy("datetime64[D]").astype(int)
        for part, is_fitted in ((("train",), True), (("validation", "holdout"), False)):
            chosen = np.concatenate([trained.split.rows(name) for name in part])
            kept = reference[reference["__fitted"] == is_fitted]
            np.testing.assert_array_equal(kept["__unit"], days[chosen])
            expected = trained.model.predict(trained.schema.encode(rows.features.iloc[chosen]))
            np.testing.assert_allclose(kept["__probability"], expected, atol=1e-6)

    def test_progress_is_reported(self):
        activities = []
        run(progress=lambda what, share: activities.append(what))
        assert {"boosting", "exporting"} <= set(activities)

    def test_calibration_is_part_of_the_model(self):
        section = TRAIN.model_copy(update={"calibration": "sigmoid"})
        trained = run(section=section)
        assert verdicts(trained)["calibration"] == "pass"
        assert trained.onnx != run().onnx

    def test_undated_rows_are_split_by_hash(self):
        trained = run(shape=Shape(time_column=None, horizon=0))
        assert trained.split.method == "hash"
        assert trained.split.cutoffs.holdout_start is None

    def test_an_empty_feature_is_reported(self):
        rows = matrix()
        rows.features["noise"] = np.float32("nan")
        check = next(check for check in run(rows).checks if check.name == "feature values")
        assert (check.verdict, check.required, check.observed) == ("fail", False, "noise")


class TestSelection:
    search = ({"max_depth": 1, "learning_rate": 0.001}, {"max_depth": 3, "learning_rate": 0.3})

    def test_the_set_of_least_mean_log_loss_wins(self):
        section = TRAIN.model_copy(update={"search": self.search})
        trained = run(section=section)
        assert verdicts(trained)["model selection"] == "pass"
        assert trained.recipe.params.learning_rate == 0.3
        means = [trial.mean for trial in trained.trials]
        assert [len(trial.scores) for trial in trained.trials] == [2, 2]
        assert means[1] < means[0]
        assert trained.chosen_trial is trained.trials[1]

    def test_equals_choose_the_first(self):
        section = TRAIN.model_copy(update={"search": ({"max_depth": 2}, {"max_depth": 2})})
        assert run(section=section).trials[0].scores == run(section=section).trials[1].scores

    def test_a_quick_run_uses_the_first_candidate_and_reports_it(self):
        section = TRAIN.model_copy(update={"search": self.search})
        trained = run(section=section, limits=TrainingLimits(quick=True, max_epochs=2))
        assert trained.recipe.params.learning_rate == 0.001
        check = next(check for check in trained.checks if check.name == "model selection")
        assert check.verdict == "skipped"
        assert check.why == "a quick run takes the first of 2 parameter sets"

    def test_undated_rows_have_folds_too(self):
        section = TRAIN.model_copy(update={"search": self.search})
        trained = run(section=section, shape=Shape(time_column=None, horizon=0))
        assert verdicts(trained)["model selection"] == "pass"

    def test_log_loss(self):
        label, probability = np.array([1.0, 0.0]), np.array([0.8, 0.4])
        expected = -(np.log(0.8) + np.log(0.6)) / 2
        assert parameter_search.log_loss(label, probability) == pytest.approx(expected)
        assert np.isfinite(parameter_search.log_loss(label, np.array([0.0, 1.0])))
        assert np.isnan(parameter_search.log_loss(label, np.array([np.nan, 0.5])))

    def test_a_wrong_key_in_the_search_is_named(self):
        section = TRAIN.model_copy(update={"search": ({}, {"max_dept": 3})})
        with pytest.raises(UsageError, match=r"train\.search, set 2, of xgboost: unknown key 'max"):
            recipes_of(section)


class TestSampling:
    def test_the_newest_whole_days(self):
        keys = matrix().keys
        rows = newest_rows(keys, 100, days=5)
        assert keys["time"].iloc[rows].nunique() == 8
        assert len(rows) == 8 * 12
        assert rows[-1] == len(keys) - 1

    def test_entities_are_left_out_where_the_days_would_be_too_few(self):
        keys = matrix(days=60, entities=80).keys
        rows = newest_rows(keys, 1000, days=40)
        assert keys["entity"].iloc[rows].nunique() == 25
        assert keys["time"].iloc[rows].nunique() == 40

    def test_twenty_entities_stay(self):
        keys = matrix(days=60, entities=80).keys
        rows = newest_rows(keys, 200, days=40)
        assert keys["entity"].iloc[rows].nunique() == 20

    def test_entities_of_few_rows_each_are_not_all_left_out(self):
        keys = matrix(days=60, entities=80).keys
        keys["entity"] = [f"e{place:05}" for place in range(len(keys))]
        rows = newest_rows(keys, 1000, days=40)
        assert rows.tolist()[-960:] == list(range(len(keys) - 960, len(keys)))
        assert len(rows) <= 1000

    def test_no_limit_reached_keeps_all(self):
        keys = matrix().keys
        assert len(newest_rows(keys, 10_000, days=5)) == len(keys)

    def test_undated_rows_are_chosen_by_content(self):
        frame = matrix().features
        chosen = hashed_rows(frame, 200)
        assert len(chosen) == 200
        shuffled = frame.sample(len(frame), random_state=1)
        again = shuffled.reset_index(drop=True).iloc[
            hashed_rows(shuffled.reset_index(drop=True), 200)
        ]
        assert sorted(again["signal"]) == sorted(frame.iloc[chosen]["signal"])

    def test_a_quick_run_uses_the_quick_sizes(self):
        trained = run(limits=TrainingLimits(quick=True, max_samples=500, max_epochs=2))
        counts = trained.split.counts()
        assert sum(counts.values()) <= 500
        assert counts["holdout"] == 8 * 12
        assert trained.model.fitted.rounds == 2


def without_features(rows):
    return replace(rows, features=rows.features[[]])


def without_rows(rows):
    empty = slice(0, 0)
    return Matrix(rows.features.iloc[empty], rows.label.iloc[empty], rows.keys.iloc[empty])


def infinite(rows):
    rows.features.loc[3:5, "noise"] = np.float32("-inf")
    return rows


def labelled(value):
    def change(rows):
        return replace(rows, label=rows.label * 0 + value)

    return change


def rare(positive, rows_of_it):
    """All rows of the other class but for a few of the first ones."""

    def change(rows):
        label = rows.label * 0 + (1 - positive)
        label[np.flatnonzero(rows.label.notna())[:rows_of_it]] = positive
        return replace(rows, label=label)

    return change


def unlabelled(rows):
    return replace(rows, label=rows.label * np.nan)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (without_features, UsageError, "there is no feature; expected features.standard"),
        (without_rows, Refused, "no rows are left to train on"),
        (infinite, Refused, "feature 'noise' is infinite in 3 rows; expected finite numbers"),
        (labelled(0), Refused, "training rows are of class 0; expected both classes"),
        (labelled(1), Refused, "training rows are of class 1; expected both classes"),
        (rare(1, 3), Refused, "too few positives: 3 of the 684 rows of the train part"),
        (rare(0, 4), Refused, "too few negatives: 4 of the 684 rows of the train part"),
        (rare(1, 30), Refused, "too few positives: 0 of the"),
        (labelled(2), Refused, "labels such as 2; expected 0 or 1"),
        (unlabelled, Refused, "none of 1080 rows has a label"),
    ],
)
def test_bad_matrices_are_refused_in_one_line(change, error, message):
    with pytest.raises(error) as refusal:
        run(change(matrix()), frame=matrix().features)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": matrix(days=20)}, "19 dates have labels; expected at least 33"),
        (
            {"section": TRAIN.model_copy(update={"min_rows": 5000})},
            "684 rows to train on; expected at least train.min_rows, 5000",
        ),
        (
            {"section": TRAIN.model_copy(update={"estimator": "xgboot"})},
            "unknown train.estimator 'xgboot'; did you mean 'xgboost'?",
        ),
        (
            {"section": TRAIN.model_copy(update={"params": {"depth": 3}})},
            "train.params of xgboost: unknown key 'depth'",
        ),
        (
            {"shape": Shape(unseen="refuse"), "rows": "unseen"},
            "which training never saw; expected null or one of 'green', 'red'",
        ),
        (
            {"split": SPLIT.model_copy(update={"folds": 0}), "section": "search"},
            "train.search chooses by walk-forward folds; expected split.folds over 0",
        ),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused_in_one_line(arguments, message):
    if arguments.get("rows") == "unseen":
        rows = matrix()
        rows.features.loc[1079, "kind"] = "blue"
        arguments = arguments | {"rows": rows}
    if arguments.get("section") == "search":
        search = TRAIN.model_copy(update={"search": ({"max_depth": 2}, {"max_depth": 3})})
        arguments = arguments | {"section": search}
    with pytest.raises(PipelineError) as refusal:
        run(**arguments)
    assert message in str(refusal.value)
    assert refusal.value.exit_code in (1, 2)
    assert "\n" not in str(refusal.value)
