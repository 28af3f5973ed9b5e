"""Every estimator on every task that it learns: fitted, exported and proven."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.bundle.reader import OnnxModel
from ml_pipeline.config import ProblemSection, SplitSection, TrainSection
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.core.report import Verdict
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.tasks.base import from_column
from ml_pipeline.tasks.loader import load_task, read_task
from ml_pipeline.training.trained_model import TrainingLimits
from ml_pipeline.training.trainer import train

ROOT = Path("/nowhere")
ROWS = 600
PARAMETERS = {
    "xgboost": {"max_depth": 3},
    "random-forest": {"n_estimators": 20},
    "ridge": {},
    "logistic-regression": {},
    "lightgbm": {"num_leaves": 7},
}
LEARNED = [
    ("regression", "ridge"),
    ("regression", "random-forest"),
    ("regression", "xgboost"),
    ("regression", "lightgbm"),
    ("multiclass_classification", "lightgbm"),
    ("multiclass_classification", "logistic-regression"),
    ("multiclass_classification", "random-forest"),
    ("multiclass_classification", "xgboost"),
]


@pytest.fixture(scope="module")
def table():
    """Two features that tell the label, one that does not, with gaps; labels far from 0."""
    rng = np.random.default_rng(3)
    x, kind, noise = rng.normal(size=(3, ROWS))
    number = 5000 + 300 * x + 200 * (kind > 0) + 20 * rng.normal(size=ROWS)
    frame = pd.DataFrame({"x": x, "kind": np.where(kind > 0, "a", "b"), "noise": noise})
    frame.loc[::17, "x"] = np.nan
    name = np.array(["small", "medium", "large"])[np.digitize(number, [4900, 5300])]
    return frame.assign(number=number, name=name)


def fitted(table, task, estimator, **section):
    label = "number" if task == "regression" else "name"
    frame = table[["x", "kind", "noise", label]]
    values = {"kind": "table", "task": task, "label": label, "categorical": ("kind",)}
    problem = load_problem(ProblemSection(**values), ROOT)
    settings = {"estimator": estimator, "params": PARAMETERS[estimator], "max_epochs": 60}
    return train(
        problem.matrix(frame, (), True),
        frame,
        problem,
        SplitSection(),
        TrainSection(**settings | section),
        TrainingLimits(),
        lambda what, share: None,
        task=load_task(task),
    )


@pytest.mark.parametrize(("task", "estimator"), LEARNED)
def test_the_export_predicts_as_the_model_does(table, task, estimator):
    trained = fitted(table, task, estimator)
    failed = [check.name for check in trained.checks if check.verdict is Verdict.FAIL]
    assert not failed
    measured = f"validation_{trained.task.training_metric}"
    loss, constant = (
        trained.metrics[key] for key in (measured, f"{measured}_of_{trained.task.baseline}")
    )
    assert loss < constant / 2
    recorded = read_task(trained.task.to_json())
    assert recorded == trained.task
    model = OnnxModel(trained.onnx, recorded)
    columns = {name: trained.parity[name].to_numpy() for name in trained.schema.names}
    encoded = trained.schema.encode(columns)
    expected = from_column(trained.parity[recorded.column])
    assert np.abs(model.predict(encoded) - expected).max() <= recorded.tolerance
    assert not recorded.invalid(expected).any()
    again = fitted(table, task, estimator)
    assert again.onnx == trained.onnx


def test_the_classes_are_the_labels_sorted(table):
    trained = fitted(table, "multiclass_classification", "logistic-regression")
    assert trained.task.classes == ("large", "medium", "small")
    assert sum(trained.labels["class_shares"].values()) == pytest.approx(1)


def test_the_interval_is_calibrated_on_the_validation_part(table):
    trained = fitted(table, "regression", "ridge")
    task, label = trained.task, trained.matrix.label.to_numpy()
    rows = trained.split.rows("validation")
    x = trained.schema.encode(
        {name: trained.matrix.features[name] for name in trained.schema.names}
    )
    inside = np.abs(label[rows] - trained.model.predict(x[rows])) <= task.half_width
    assert 0.9 <= inside.mean() < 0.95
    assert len(task.bins) == 19
    assert task.mean == pytest.approx(label[trained.split.rows("train")].mean())


class TestRefusals:
    def test_an_estimator_that_does_not_learn_such_labels(self, table):
        with pytest.raises(UsageError, match="ridge, which does not learn the labels of a multi"):
            fitted(table, "multiclass_classification", "ridge")
        with pytest.raises(UsageError, match="logistic-regression, which does not learn"):
            fitted(table, "regression", "logistic-regression")

    def test_a_calibration_that_the_task_does_not_take(self, table):
        with pytest.raises(UsageError, match=r"train\.calibration is sigmoid, which a regression"):
            fitted(table, "regression", "ridge", calibration="sigmoid")

    def test_a_criterion_of_classifications_for_a_regression(self, table):
        with pytest.raises(UsageError, match="criterion is gini"):
            fitted(table, "regression", "random-forest", params={"criterion": "gini"})

    def test_a_problem_that_does_not_have_the_task(self):
        with pytest.raises(UsageError, match="'regression', which the problem 'bars' does not"):
            load_problem(ProblemSection(kind="bars", task="regression"), ROOT)

    def test_positive_for_a_label_that_is_not_binary(self):
        values = {"kind": "table", "task": "regression", "label": "number", "positive": 2}
        with pytest.raises(UsageError, match=r"problem\.positive is set"):
            load_problem(ProblemSection(**values), ROOT)

    def test_a_class_with_too_few_rows(self, table):
        rare = table.assign(name=["rare"] * 3 + table["name"].tolist()[3:])
        with pytest.raises(Refused, match="class 'rare'"):
            fitted(rare, "multiclass_classification", "logistic-regression")

    def test_words_in_the_label_of_a_regression(self, table):
        words = table.assign(number=["many", *table["number"].astype(str)[1:]])
        with pytest.raises(UsageError, match="is no number in 1 rows, such as 'many'"):
            fitted(words, "regression", "ridge")

    def test_too_many_classes(self, table):
        many = table.assign(name=[f"n{number}" for number in range(ROWS)])
        with pytest.raises(UsageError, match="has 600 values; expected at most 100 classes"):
            fitted(many, "multiclass_classification", "logistic-regression")
