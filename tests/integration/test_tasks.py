"""Regression and multi-class classification, from a CSV to an approved production."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_wine

from tests.integration.conftest import CommandLine, free_port

NAMES = {0: "barolo", 1: "grignolino", 2: "barbera"}
"""The cultivars of scikit-learn's wines."""


def project_of(make_project: Any, rows: pd.DataFrame, task: str, **sections: Any) -> Any:
    """Write the rows as a CSV with a project around them."""
    project = make_project(
        bare=True,
        project=task.replace("_", "-"),
        data={"source": {"kind": "csv", "path": "data.csv"}},
        problem={"kind": "table", "task": task, "label": "target", "entity": "id"},
        shadow={"min_requests": 30},
        environments={"staging": {"port": free_port()}, "production": {"port": free_port()}},
        **sections,
    )
    rows.assign(id=entities(rows)).to_csv(project.root / "data.csv", index=False)
    return project


def entities(rows: pd.DataFrame) -> list[str]:
    return [f"row-{number}" for number in range(len(rows))]


def production(command: CommandLine) -> str:
    return str(command.status()["production"]["url"])


def golden(command: CommandLine) -> dict[str, Any]:
    path = command.project.root / "build/ml/bundle/golden.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.slow
def test_a_regression_reaches_production(make_project: Any, command_line: Any) -> None:
    rows = load_diabetes(as_frame=True, scaled=False).frame
    project = project_of(make_project, rows, "regression", train={"estimator": "ridge"})
    command: CommandLine = command_line(project)
    done = command("run", "cd", "--yes")
    assert done.code == 0, done.out + done.err

    gate = command.report("gate")
    assert gate.metrics["primary"]["metric"] == "mae"
    assert gate.metrics["primary"]["against"].endswith("mean of the training labels")
    measured = command.report("evaluate").metrics["models"]["model"]
    assert measured["r2"]["value"] > 0.4
    assert 0.8 < measured["coverage"]["value"] <= 1

    url, expected = production(command), golden(command)
    answer = httpx.post(f"{url}/predict", json={"features": expected["inputs"][0]}).json()
    assert answer["prediction"] == pytest.approx(expected["predictions"][0], abs=1e-2)
    assert answer["interval"][0] < answer["prediction"] < answer["interval"][1]
    told = httpx.post(f"{url}/invocations", json={"instances": expected["inputs"][:2]}).json()
    assert told["predictions"] == pytest.approx(expected["predictions"][:2], abs=1e-2)
    metadata = httpx.get(f"{url}/metadata").json()
    assert (metadata["task"], metadata["interval_coverage"]) == ("regression", 0.9)

    out = project.root / "scores.csv"
    assert command("score", "--in", "data.csv", "--out", str(out)).code == 0
    scores = pd.read_csv(out).set_index("id").loc[entities(rows)].reset_index()
    inside = rows["target"].between(scores["interval_low"], scores["interval_high"])
    assert 0.85 < inside.mean() < 0.97


@pytest.mark.slow
def test_a_multiclass_classification_reaches_production(
    make_project: Any, command_line: Any
) -> None:
    rows = load_wine(as_frame=True).frame.rename(columns=lambda name: name.replace("/", "_"))
    rows["target"] = rows["target"].map(NAMES)
    project = project_of(
        make_project,
        rows,
        "multiclass_classification",
        train={"estimator": "logistic-regression", "min_rows": 100},
        split={"holdout_share": 0.3},
        evaluate={"thresholds": {"balanced_accuracy": {"min": 0.9}, "recall_barolo": {"min": 0.8}}},
    )
    command: CommandLine = command_line(project)
    done = command("run", "cd", "--yes")
    assert done.code == 0, done.out + done.err

    gate = command.report("gate")
    assert gate.metrics["primary"]["metric"] == "log_loss"
    assert gate.metrics["primary"]["against"].endswith("class shares")
    checks = {check.name: check.verdict for check in command.report("evaluate").checks}
    assert checks["threshold recall_barolo"] == "pass"

    url, expected = production(command), golden(command)
    answer = httpx.post(f"{url}/predict", json={"features": expected["inputs"][0]}).json()
    assert sorted(answer) == ["label", "model_version", "probabilities"]
    classes = httpx.get(f"{url}/metadata").json()["classes"]
    assert classes == sorted(NAMES.values())
    found = [answer["probabilities"][name] for name in classes]
    assert found == pytest.approx(expected["probabilities"][0], abs=1e-5)
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    told = httpx.post(f"{url}/invocations", json={"instances": expected["inputs"][:1]}).json()
    assert told["predictions"] == [answer["probabilities"]]

    out = project.root / "scores.parquet"
    assert command("score", "--in", "data.csv", "--out", str(out)).code == 0
    labels = pd.read_parquet(out).set_index("id").loc[entities(rows), "label"]
    assert (labels.to_numpy() == rows["target"].to_numpy()).mean() > 0.95
