"""An estimator written in the project's repository, from train to package, and its refusals."""

from __future__ import annotations

import tarfile

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.bundle import identity
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.errors import UsageError
from ml_pipeline.stages import runner

CHURN = """
from helpers import TREES
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline


def Churn(trees=TREES):
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        ExtraTreesClassifier(n_estimators=trees, min_samples_leaf=20),
    )
"""
REFUSED = '''
import os
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.naive_bayes import GaussianNB


def unfaithful():
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    return CalibratedClassifierCV(pipeline)


class Strange(DummyClassifier):
    """No converter knows a class of the project."""


def no_missing():
    return GaussianNB()


def no_estimator():
    return 7


def with_arguments(depth):
    return DummyClassifier()


class Dying(DummyClassifier):
    def fit(self, x, y):
        os._exit(9)


not_callable = 7
'''


@pytest.fixture
def own_project(make_project, monkeypatch):
    """Return a project with an estimator of its own, its data validated."""

    def make(reference, params=None):
        train = {"estimator": reference, "params": params or {}, "max_epochs": 20}
        project = make_project(
            bare=True,
            project="small",
            data={"source": {"kind": "simulated", "symbols": 24, "days": 160, "seed": 3}},
            split={"holdout_days": 40, "validation_days": 20, "folds": 0},
            evaluate={"resamples": 50},
            train=train,
        )
        (project.root / "my_models.py").write_text(CHURN)
        (project.root / "helpers.py").write_text("TREES = 20\n")
        (project.root / "refused.py").write_text(REFUSED)
        return project

    return make


def run(make_context, project, *stages):
    results = [runner.execute(make_context(project, stage)) for stage in stages]
    return results[-1]


def test_an_own_estimator_passes_train_evaluate_and_package(own_project, make_context):
    project = own_project("my_models:Churn", {"trees": 25})
    for stage in ("validate-data", "train", "evaluate", "package"):
        result = run(make_context, project, stage)
        assert result.exit_code == 0, result.report.summary
        if stage == "train":
            verdicts = {check.name: check.verdict for check in result.report.checks}
            assert verdicts["conversion of the project's estimator"] == "pass"
            assert "isolation of the project's code" in verdicts
            onnx = (project.root / "build/ml/model/model.onnx").read_bytes()
    bundle = Bundle.open(project.root / "build/ml/bundle")
    assert bundle.manifest["training"]["estimator"] == "my_models:Churn"
    assert bundle.manifest["training"]["params"] == {"trees": 25}
    with tarfile.open(bundle.path / "source.tar.gz") as archive:
        assert {"my_models.py", "helpers.py"} <= set(archive.getnames())
    names = {path.suffix for path in bundle.path.iterdir()}
    assert not names & {".pkl", ".joblib", ".pickle"}
    assert run(make_context, project, "train").exit_code == 0
    assert (project.root / "build/ml/model/model.onnx").read_bytes() == onnx, "the same bytes twice"


@pytest.fixture(scope="module")
def clean_rows():
    """Clean bars of the simulated exchange, made once."""
    from pathlib import Path

    from ml_pipeline.config import Config, Project
    from ml_pipeline.data.sources import read_source, to_problem_columns
    from ml_pipeline.problems.loader import load_problem

    source = {"kind": "simulated", "symbols": 24, "days": 160, "seed": 3}
    project = Project(Path("/nowhere"), Config(project="small", data={"source": source}))
    problem = load_problem(project.config.problem, project.root)
    frame = read_source(project.config.data.source, project).frame
    return to_problem_columns(frame, problem, project.config.data, project)


@pytest.mark.parametrize(
    ("reference", "params", "exit_code", "message"),
    [
        ("refused:unfaithful", {}, 1, "its ONNX model predicts otherwise than the fitted object"),
        ("refused:Strange", {}, 1, "does not convert to ONNX"),
        ("refused:no_missing", {}, 2, "cannot be fitted: ValueError: Input X contains NaN"),
        ("refused:no_estimator", {}, 2, "what refused:no_estimator returns has no fit"),
        ("refused:with_arguments", {"width": 3}, 2, "refuses train.params: TypeError"),
        ("refused:not_callable", {}, 2, "is a int; expected a class, or a function"),
        ("refused:Dying", {}, 2, "the process of refused:Dying ended with 9"),
        ("refused:Gone", {}, 2, "module refused has no 'Gone'"),
        ("gone:Churn", {}, 2, "train.estimator: no module 'gone'"),
        ("my models:Churn", {}, 2, "expected a name, or module:Name"),
    ],
)
def test_an_estimator_that_cannot_be_served_is_refused_with_the_reason(
    own_project, make_context, clean_rows, reference, params, exit_code, message
):
    from tests.stages.test_train import validated

    project = own_project(reference, params)
    validated(project, clean_rows)
    result = run(make_context, project, "train")
    assert (result.exit_code, message in result.report.summary) == (exit_code, True), (
        result.report.summary
    )
    assert not (project.root / "build/ml/model/model.onnx").exists()


OTHER_TASKS = '''
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler


def unfaithful_regression():
    """The powers of unscaled features exceed what the float32 of the export resolves."""
    return make_pipeline(SimpleImputer(), PolynomialFeatures(6), LinearRegression())


def unfaithful_multiclass_classification():
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    return CalibratedClassifierCV(pipeline)


class unconverted_regression(DummyRegressor):
    """No converter knows a class of the project."""


class unconverted_multiclass_classification(DummyClassifier):
    """No converter knows a class of the project."""


def regression():
    return make_pipeline(SimpleImputer(), StandardScaler(), LinearRegression())


def multiclass_classification():
    return make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
'''


@pytest.mark.parametrize("task", ["regression", "multiclass_classification"])
def test_an_export_of_other_tasks_is_refused_where_it_is_not_faithful(
    make_project, make_context, task
):
    rng = np.random.default_rng(4)
    rows = pd.DataFrame({"x": rng.normal(30, 20, 300), "z": rng.normal(size=300)})
    number = rows["x"] + 10 * rows["z"]
    names = np.array(["low", "middle", "high"])[np.digitize(number, [20, 40])]
    rows["y"] = number if task == "regression" else names

    def train_with(reference):
        project = make_project(
            bare=True,
            project="small",
            data={"source": {"kind": "csv", "path": "rows.csv"}},
            problem={"kind": "table", "task": task, "label": "y"},
            train={"estimator": f"other_tasks:{reference}", "min_rows": 100},
        )
        rows.to_csv(project.root / "rows.csv", index=False)
        (project.root / "other_tasks.py").write_text(OTHER_TASKS)
        return run(make_context, project, "validate-data", "train")

    for reference, message in (
        (f"unfaithful_{task}", "its ONNX model predicts otherwise than the fitted object"),
        (f"unconverted_{task}", "does not convert to ONNX"),
    ):
        refused = train_with(reference)
        assert (refused.exit_code, message in refused.report.summary) == (1, True), (
            refused.report.summary
        )
    trained = train_with(task)
    assert trained.exit_code == 0, trained.report.summary
    verdicts = {check.name: check.verdict for check in trained.report.checks}
    assert verdicts["conversion of the project's estimator"] == "pass"


class TestIdentity:
    def test_covers_the_module_and_what_it_imports(self, own_project):
        project = own_project("my_models:Churn")
        before = identity.identity(project, "d" * 64)
        (project.root / "helpers.py").write_text("TREES = 21\n")
        after = identity.identity(project, "d" * 64)
        changed = {name for name in before.parts if before.parts[name] != after.parts[name]}
        assert changed == {"source"}

    def test_covers_the_packages_that_it_imports(self, own_project):
        project = own_project("my_models:Churn")
        assert "lightgbm" not in identity.locked(project)
        (project.root / "helpers.py").write_text("import lightgbm, xgboost\nTREES = 20\n")
        locked = identity.locked(project)
        assert {"lightgbm", "xgboost"} <= set(locked)

    def test_needs_the_module(self, own_project):
        with pytest.raises(UsageError, match=r"train\.estimator: no module 'gone'"):
            identity.identity(own_project("gone:Churn"), "d" * 64)
