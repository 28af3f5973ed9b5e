"""The request contract from data to registry: what its columns' order and names do to a model."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.home import Home
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CHAMPION
from ml_pipeline.stages.runner import execute

ROWS = 400
SECTIONS = {
    "problem": {
        "kind": "table",
        "label": "churned",
        "entity": "customer",
        "categorical": ["plan"],
    },
    "data": {"source": {"kind": "csv", "path": "customers.csv"}},
    "train": {"estimator": "logistic-regression"},
    "split": {"holdout_share": 0.3},
}


def customers(rows=ROWS, seed=1):
    """Return customers with three features; the label follows from ``tenure`` and ``plan``."""
    random = np.random.default_rng(seed)
    plan = np.array(["free", "max", "pro"])[random.integers(0, 3, rows)]
    tenure, age = random.integers(1, 60, rows), random.integers(18, 90, rows)
    score = 1.5 - tenure / 20 + (plan == "free") + random.logistic(size=rows)
    return pd.DataFrame(
        {
            "customer": [f"k{number}" for number in range(rows)],
            "tenure": tenure,
            "age": age,
            "plan": plan,
            "churned": (score > 0).astype(int),
        }
    )


class Delivery:
    """The stages that make a model of a table, in one project with one home."""

    def __init__(self, make_project, make_context, database):
        self.make_project, self.make_context, self.database = make_project, make_context, database
        self.root = None

    def run(self, *stages, quick=False, **flags):
        for stage in stages:
            self.result = execute(self.make_context(self.project, stage, quick=quick, **flags))
            if self.result.exit_code:
                break
        return self.result

    def made_of(self, frame, *, quick=False, **sections):
        """Train and package a model of the rows; return its report of train and its bundle."""
        values = {**SECTIONS, **sections}
        self.project = self.make_project(
            "churn", bare=True, project="churn", environments={}, **values
        )
        root = self.project.root
        if not (root / ".ml").exists():
            (root / ".ml").mkdir()
            shutil.copy(self.database, root / ".ml/mlflow.db")
        frame.to_csv(root / "customers.csv", index=False)
        shutil.rmtree(root / "build", ignore_errors=True)
        self.run("validate-data", "train", quick=quick)
        assert self.result.exit_code == 0, self.result.report.summary
        trained = self.result.report
        self.run("package", quick=quick)
        assert self.result.exit_code == 0, self.result.report.summary
        return trained, Bundle.open(root / "build/ml/bundle")

    @property
    def registry(self):
        return Registry.of(self.project, Home(self.project.root / ".ml"))

    def crown(self):
        """Register what was packaged, and make it the champion."""
        result = self.run("register")
        assert result.exit_code == 0, result.report.summary
        version = self.registry.read().challenger
        self.registry.aliases.set(CHAMPION, version)
        return version


@pytest.fixture
def delivery(make_project, make_context, registry_database):
    return Delivery(make_project, make_context, registry_database)


def contract_check(report):
    return next(check for check in report.checks if check.name == "request contract")


def test_the_order_of_the_columns_in_the_file_means_nothing(delivery):
    frame = customers()
    _, first = delivery.made_of(frame)
    assert first.schema.names == ("plan", "age", "tenure")
    for columns in (
        ["age", "plan", "churned", "tenure", "customer"],
        ["churned", "tenure", "plan", "customer", "age"],
    ):
        _, other = delivery.made_of(frame[columns])
        assert (other.identity, other.digest) == (first.identity, first.digest)
    _, quick = delivery.made_of(frame[["tenure", "age", "plan", "churned", "customer"]], quick=True)
    assert quick.schema.names == first.schema.names


def test_the_champions_order_is_kept_whatever_declares_another(delivery):
    delivery.made_of(customers(), features={"standard": ["tenure", "plan", "age"]})
    delivery.crown()
    for sections in (
        {},
        {"features": {"standard": ["age", "tenure", "plan"]}},
        {"problem": {**SECTIONS["problem"], "numeric": ["age", "tenure"]}},
    ):
        trained, bundle = delivery.made_of(customers(seed=2), **sections)
        assert bundle.schema.names == ("tenure", "plan", "age")
        assert contract_check(trained).observed == "compatible"


def test_the_contract_is_a_part_of_the_identity(delivery):
    trained, bundle = delivery.made_of(customers())
    assert bundle.manifest["identity_parts"]["contract"] == bundle.schema.contract
    assert trained.metrics["contract"] == bundle.schema.contract
    assert bundle.schema.contract in (bundle.path / "MODEL_CARD.md").read_text()
    assert contract_check(trained).verdict == "skipped"
    _, other = delivery.made_of(customers(), features={"optional": ["age"]})
    assert other.schema.contract != bundle.schema.contract
    assert other.schema.names == ("plan", "tenure", "age")


def test_an_optional_feature_extends_the_contract_and_old_clients_are_served(delivery):
    frame = customers()
    delivery.made_of(frame)
    former = delivery.crown()
    wider = frame.assign(income=np.arange(ROWS) % 7)
    trained, bundle = delivery.made_of(wider, features={"optional": ["income"]})
    check = contract_check(trained)
    assert check.verdict == "pass"
    assert check.observed == "extended: feature 'income' is new and optional"
    assert bundle.schema.names == ("plan", "age", "tenure", "income")
    before = delivery.registry.bundles.manifest(former)["identity_parts"]["contract"]
    assert bundle.schema.accepts == (before,)
    row = ["pro", 41.0, 12.0]
    assert bundle.predict_rows([row]) == bundle.predict_rows([[*row, None]])
    first = delivery.registry.bundles.manifest(former)["training"]["split"]
    assert bundle.manifest["training"]["split"] == first, "else they could not be compared"
    assert "split" in bundle.manifest["identity_parts"]
    delivery.crown()
    _, again = delivery.made_of(wider, features={"optional": ["income"]})
    assert again.schema.accepts == bundle.schema.accepts
    assert (again.identity, again.digest) == (bundle.identity, bundle.digest)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda frame: frame.assign(income=1.5), "feature 'income' is new and required"),
        (lambda frame: frame.drop(columns="age"), "feature 'age' is gone"),
        (lambda frame: frame.rename(columns={"age": "years"}), "'years' is new and required: rena"),
        (lambda frame: frame[frame["plan"] != "max"], "does not know 'max' any more"),
    ],
)
def test_a_change_that_breaks_clients_is_said_by_train(delivery, change, told):
    delivery.made_of(customers())
    delivery.crown()
    trained, _ = delivery.made_of(change(customers(rows=700)))
    check = contract_check(trained)
    assert (check.verdict, check.required) == ("fail", False)
    assert told in check.observed
    assert "wrongly" not in check.observed
    assert "gate.allow_breaking_contract" in check.why


def test_whole_numbers_that_become_decimals_keep_the_contract(delivery):
    delivery.made_of(customers())
    delivery.crown()
    frame = customers()
    trained, _ = delivery.made_of(frame.assign(age=frame["age"] + 0.5))
    assert contract_check(trained).observed == "compatible"


def test_text_in_a_column_that_was_numbers_is_another_type(delivery):
    delivery.made_of(customers())
    delivery.crown()
    frame = customers()
    bands = frame.assign(age=np.where(frame["age"] > 50, "old", "young"))
    problem = {**SECTIONS["problem"], "categorical": ["plan", "age"]}
    trained, _ = delivery.made_of(bands, problem=problem)
    assert "feature 'age' takes text, took numbers" in contract_check(trained).observed


def test_an_unknown_optional_feature_is_refused_with_the_nearest(delivery):
    delivery.made_of(customers())
    project = delivery.project
    features = project.config.features.model_copy(update={"optional": ("agee",)})
    config = project.config.model_copy(update={"features": features})
    delivery.project = type(project)(project.root, config)
    result = delivery.run("train")
    assert result.exit_code == 2
    assert result.report.summary == "features.optional: unknown 'agee'; did you mean 'age'?"


def test_a_registry_that_does_not_answer_is_no_missing_champion(delivery):
    delivery.made_of(customers())
    (delivery.project.root / ".ml/mlflow.db").write_bytes(b"broken" * 1000)
    assert delivery.run("train").exit_code == 3
    assert delivery.run("train", quick=True).exit_code == 0


def test_a_registered_identity_with_other_content_says_what_differs(delivery):
    _, bundle = delivery.made_of(customers())
    delivery.crown()
    path = bundle.path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["features"]["features"][1]["maximum"] += 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(Refused) as refused:
        delivery.registry.register(bundle.path)
    told = str(refused.value)
    assert "version 1 of 'churn' has this identity with other content: feature 'age': 18 to" in told
    assert "random or reads something else than the data" in told
