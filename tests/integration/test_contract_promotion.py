"""What a change of a table's columns does on its way to a production that has clients already."""

import io
import shutil
import sys

import httpx
import numpy as np
import pytest
from ml_pipeline.core.home import Home
from ml_pipeline.stages.runner import execute
from ml_pipeline.targets.base import Placement
from ml_pipeline.targets.loader import load_target

from tests.servers import free_port
from tests.stages.test_contract import SECTIONS, customers

ROWS = 4000
"""So many that the gate can tell a model from the base rate."""
GATE = {"goal": "non_inferior", "non_inferior_margin": 1.0, "guards": {}}
ALLOWED = GATE | {"allow_breaking_contract": True}
ROW = {"plan": "pro", "age": 41, "tenure": 12}
"""What a client of the first champion sends, in the order of its features."""


class Project:
    """A churn table with staging and production as processes of this machine."""

    def __init__(self, make_project, make_context, database):
        self._make_project, self._make_context = make_project, make_context
        self._database = database
        self._ports = {"staging": {"port": free_port()}, "production": {"port": free_port()}}

    def load(self, frame, gate=GATE, **sections):
        """Write configuration and data."""
        values = {
            **SECTIONS,
            "project": "churn",
            "environments": self._ports,
            "load_test": {"required": False},
            "shadow": {"required": False},
            "evaluate": {"resamples": 50},
            "gate": gate,
            **sections,
        }
        self.project = self._make_project("churn", bare=True, **values)
        root = self.project.root
        if not (root / ".ml").exists():
            (root / ".ml").mkdir()
            shutil.copy(self._database, root / ".ml/mlflow.db")
        frame.to_csv(root / "customers.csv", index=False)
        shutil.rmtree(root / "build", ignore_errors=True)

    def run(self, stage, environment=None, *, interactive=False, **flags):
        context = self._make_context(self.project, stage, environment, **flags)
        context.interactive = interactive
        made = execute(context)
        self.report = made.report
        return made.exit_code

    def passes(self, stage, environment=None, **flags):
        assert self.run(stage, environment, **flags) == 0, self.report.summary
        return self.report

    def gate(self):
        """Run what comes before the gate, then the gate; return its exit code."""
        for stage in ("validate-data", "train", "evaluate", "package", "register"):
            self.passes(stage)
        self.passes("deploy", "staging")
        self.passes("verify", "staging")
        return self.run("gate")

    def promoted(self):
        assert self.gate() == 0, self.report.summary
        self.passes("approve", by="Asha", reason="seen")
        return self.passes("promote")

    def check(self, name="request contract"):
        return next(check for check in self.report.checks if check.name == name)

    @property
    def url(self):
        return f"http://127.0.0.1:{self._ports['production']['port']}"

    def ask(self, **body):
        return httpx.post(f"{self.url}/predict", json=body, timeout=30)

    @property
    def contract(self):
        return httpx.get(f"{self.url}/metadata", timeout=30).json()["contract"]

    def stop(self):
        for name in self._ports:
            placement = Placement.of(self.project, name, Home(self.project.root / ".ml"))
            load_target("process").stop(placement)


@pytest.fixture
def project(make_project, make_context, registry_database):
    """The table with a champion in production."""
    made = Project(make_project, make_context, registry_database)
    made.load(customers(ROWS))
    try:
        made.promoted()
        assert made.ask(features=ROW).json()["model_version"] == 1
        yield made
    finally:
        made.stop()


def test_the_same_columns_in_another_order_change_nothing_for_clients(project):
    old = project.contract
    frame = customers(ROWS + 100)
    project.load(frame[["churned", "tenure", "customer", "age", "plan"]])
    project.promoted()
    answers = [
        project.ask(features=ROW),
        project.ask(features=[*ROW.values()]),
        project.ask(features=[*ROW.values()], contract=old),
    ]
    assert [each.status_code for each in answers] == [200, 200, 200]
    assert len({each.text for each in answers}) == 1
    assert answers[0].json()["model_version"] == 2
    assert project.contract == old


def test_an_optional_column_more_is_served_beside_old_requests(project):
    old = project.contract
    project.load(
        customers(ROWS).assign(income=np.arange(ROWS) % 7), features={"optional": ["income"]}
    )
    assert project.gate() == 0, project.report.summary
    assert project.check().observed == "extended: feature 'income' is new and optional"
    project.passes("approve", by="Asha", reason="seen")
    project.passes("promote")
    former = [
        project.ask(features=ROW),
        project.ask(features=[*ROW.values()], contract=old),
        project.ask(features=ROW | {"income": None}),
    ]
    assert [each.status_code for each in former] == [200, 200, 200]
    assert len({each.text for each in former}) == 1
    assert project.ask(features=ROW | {"income": 3}).json()["model_version"] == 2
    assert project.contract != old


DROPPED = {"problem": {**SECTIONS["problem"], "drop": ["age"]}}
"""The column stays in the data until the promotion, and is no feature any more."""


@pytest.mark.slow
def test_a_break_goes_through_where_it_is_allowed_and_old_clients_are_told(
    project, monkeypatch, capsys
):
    """Another column takes the place of ``age``, so that an old row by position would still fit."""
    old = project.contract
    frame = customers(ROWS + 100)
    frame["visits"] = np.arange(len(frame)) % 60
    project.load(frame, **DROPPED)
    assert project.gate() == 1
    assert project.check().verdict == "fail"
    assert "feature 'age' is gone" in project.check().observed

    project.load(frame, gate=ALLOWED, **DROPPED)
    assert project.gate() == 0, project.report.summary
    assert project.report.summary.startswith("clients break, breaking: feature 'age' is gone")
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\nAsha\nclients are told\n"))
    project.passes("approve", interactive=True)
    shown = capsys.readouterr().out.strip()
    assert shown.splitlines()[0].startswith("CLIENTS BREAK: feature 'age' is gone")
    project.passes("promote")

    row = {"plan": "pro", "tenure": 12, "visits": 3}
    assert project.ask(features=row).json()["model_version"] == 2
    by_position = [
        project.ask(features=[*ROW.values()]),
        project.ask(features=[*ROW.values()], contract=old),
    ]
    assert [each.status_code for each in by_position] == [409, 409]
    assert all(project.contract in each.json()["error"] for each in by_position)
    assert old in by_position[1].json()["error"]
    by_name = project.ask(features=ROW)
    assert by_name.status_code == 422
    assert "'age'" in by_name.json()["error"]
    new = project.ask(features=["pro", 12, 3], contract=project.contract)
    assert new.json()["model_version"] == 2

    project.load(frame.assign(age=frame["age"] * 50), **DROPPED)
    assert project.run("validate-data") == 1
    assert [c.name for c in project.report.checks if c.verdict == "fail"] == [
        "age_mean_as_accepted"
    ]
    project.load(frame.drop(columns="age"))
    project.passes("validate-data")


def test_a_column_that_is_gone_from_the_data_is_named_with_what_to_do(project):
    project.load(customers(ROWS + 100).drop(columns="age"), gate=ALLOWED)
    assert project.run("validate-data") == 1
    why = [check.why for check in project.report.checks if check.verdict == "fail"]
    assert "the data has no column 'age' any more" in why[0]
    assert "keep it in the data, with 'problem.drop: [age]' in ml.yaml, until" in why[0]
