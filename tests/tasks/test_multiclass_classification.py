"""Multi-class classification: its metrics, answers, record and labels."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.evaluation.holdout import Sample
from ml_pipeline.evaluation.metric_table import measure
from ml_pipeline.tasks.loader import load_task, read_task
from ml_pipeline.tasks.multiclass_classification import MulticlassClassification
from sklearn import metrics as known

TASK = MulticlassClassification(("large", "medium", "small"))
SCORES = st.lists(st.integers(1, 9), min_size=3, max_size=3)
ROWS = st.lists(st.tuples(st.integers(0, 2), SCORES, st.integers(0, 3)), min_size=2, max_size=40)


def columns(rows):
    labels, scores, days = zip(*rows, strict=True)
    p = np.array(scores, dtype=float)
    p /= p.sum(axis=1, keepdims=True)
    return np.array(labels, dtype=float), p, np.array(days, dtype=np.int64)


@given(ROWS)
def test_metrics_are_scikit_learns(rows):
    y, p, day = columns(rows)
    chosen = p.argmax(axis=1)
    found = {name: metric.value(y, p, day) for name, metric in TASK.metrics.items()}
    assert found["log_loss"] == pytest.approx(known.log_loss(y, p, labels=[0, 1, 2]))
    assert found["accuracy"] == pytest.approx(known.accuracy_score(y, chosen))
    recalls = known.recall_score(y, chosen, labels=[0, 1, 2], average=None, zero_division=np.nan)
    precisions = known.precision_score(
        y, chosen, labels=[0, 1, 2], average=None, zero_division=np.nan
    )
    assert found["balanced_accuracy"] == pytest.approx(np.nanmean(recalls))
    for number, name in enumerate(TASK.classes):
        assert found[f"recall_{name}"] == pytest.approx(recalls[number], nan_ok=True)
        assert found[f"precision_{name}"] == pytest.approx(precisions[number], nan_ok=True)


@given(ROWS)
def test_drawn_once_each_the_clusters_give_the_value(rows):
    y, p, day = columns(rows)
    codes = np.unique(day, return_inverse=True)[1]
    once = np.ones((1, codes.max() + 1))
    for metric in TASK.metrics.values():
        found = metric.statistic(y, p, codes, codes.max() + 1)(once)[0]
        assert found == pytest.approx(metric.value(y, p, day), nan_ok=True)


class TestAnswer:
    def test_it_is_the_probabilities_and_the_most_probable_class(self):
        assert TASK.answer((0.2, 0.5, 0.3)) == {
            "probabilities": {"large": 0.2, "medium": 0.5, "small": 0.3},
            "label": "medium",
        }

    @given(SCORES)
    def test_it_is_read_back(self, scores):
        value = tuple(score / sum(scores) for score in scores)
        assert TASK.read(json.loads(json.dumps(TASK.answer(value)))) == value

    @pytest.mark.parametrize(
        "answer",
        [
            {},
            {"probability": 0.5},
            {"probabilities": {"large": 1.0}, "label": "large"},
            {"probabilities": {"large": 0.9, "medium": 0.9, "small": 0.9}, "label": "large"},
            {"probabilities": {"large": 1.5, "medium": -0.5, "small": 0.0}, "label": "large"},
            {"probabilities": {"large": 0.5, "medium": 0.3, "small": 0.2}, "label": "small"},
            {"probabilities": {"large": 0.5, "medium": 0.3, "small": 0.2}, "label": "none"},
        ],
    )
    def test_other_values_are_not_a_response(self, answer):
        with pytest.raises(ValueError, match=r"the answer|probabilities add up"):
            TASK.read(answer)


class TestRecord:
    def test_it_is_read_back(self):
        assert read_task(json.loads(json.dumps(TASK.to_json()))) == TASK

    @pytest.mark.parametrize("classes", [["a"], ["a", "a"], ["a", 1], "ab", None])
    def test_a_wrong_one_is_refused(self, classes):
        record = {"name": "multiclass_classification", "classes": classes}
        with pytest.raises(Refused, match="record of the model"):
            read_task(record)


class TestLabels:
    def test_a_class_that_training_lacks_is_named(self):
        assert TASK.training_fault(np.array([0.0, 2.0])) == "lack class 'medium'"
        assert TASK.training_fault(np.array([1.0, 1.0])) == "are of one class"
        assert not TASK.training_fault(np.array([0.0, 1.0, 2.0]))

    def test_a_rare_class_is_refused(self):
        labels = np.array([0.0] * 5 + [1.0] * 4 + [2.0] * 5)
        with pytest.raises(Refused, match="too few rows of class 'medium': 4 of the 14 rows"):
            TASK.check_part("train", labels)

    def test_baselines_are_shares(self):
        labels = np.array([0.0, 1.0, 1.0, 2.0])
        assert TASK.targets(labels).mean(axis=0).tolist() == [0.25, 0.5, 0.25]


def test_an_unknown_task_is_named_with_the_nearest():
    with pytest.raises(UsageError, match=r"problem\.task is 'regresion'.*'regression'"):
        load_task("regresion")


def test_a_record_without_a_task_is_of_binary_classification():
    assert read_task(None).name == "binary_classification"
    with pytest.raises(Refused, match=r"problem\.task is 'other'"):
        read_task({"name": "other"})


def test_the_precision_of_a_class_that_no_row_was_given_is_skipped():
    sample = Sample(np.array([0.0, 1.0, 2.0]), np.arange(3), ("a", "b", "c"), "row", TASK)
    always_large = np.tile([0.8, 0.1, 0.1], (3, 1))
    table = measure(sample, {"model": always_large}, resamples=50, seed=1)
    assert table["model"]["precision_small"].skipped == "these predictions do not define it"
    assert table["model"]["precision_large"].value == pytest.approx(1 / 3)
