"""Regression, multi-class classification and an installed task, from a CSV to production.

The multi-class model and that of the installed task are estimators of the project's own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_wine

from tests.integration.conftest import CommandLine, free_port

NAMES = {0: "barolo", 1: "grignolino", 2: "barbera"}
"""The cultivars of scikit-learn's wines."""
OWN = '''"""Estimators of the project's own."""

from sklearn.ensemble import GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def Cultivar():
    return make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=1000))


def Visits(trees=50):
    return make_pipeline(
        SimpleImputer(), GradientBoostingRegressor(n_estimators=trees, max_depth=2)
    )
'''
PAGE = Path(__file__).resolve().parents[2] / "docs/reference/tasks.md"


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
    (project.root / "own_models.py").write_text(OWN)
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
    invoked = httpx.post(f"{url}/invocations", json={"instances": expected["inputs"][:2]}).json()
    assert invoked["predictions"] == pytest.approx(expected["predictions"][:2], abs=1e-2)
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
        train={"estimator": "own_models:Cultivar", "min_rows": 100},
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
    invoked = httpx.post(f"{url}/invocations", json={"instances": expected["inputs"][:1]}).json()
    assert invoked["predictions"] == [answer["probabilities"]]

    out = project.root / "scores.parquet"
    assert command("score", "--in", "data.csv", "--out", str(out)).code == 0
    labels = pd.read_parquet(out).set_index("id").loc[entities(rows), "label"]
    assert (labels.to_numpy() == rows["target"].to_numpy()).mean() > 0.95


def install_task_of_the_page(folder: Path) -> Path:
    """Install the distribution of docs/reference/tasks.md to the letter; return its folder."""
    blocks = dict(re.findall(r"```(toml|python)\n(.*?)```", PAGE.read_text(), re.DOTALL))
    source, site = folder / "count-task", folder / "site"
    source.mkdir()
    (source / "pyproject.toml").write_text(blocks["toml"])
    (source / "count_task.py").write_text(blocks["python"])
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"),
            *("--no-build-isolation", "--disable-pip-version-check", "--target", site, source),
        ],
        check=True,
        timeout=300,
    )
    return site


@pytest.mark.slow
def test_an_installed_task_reaches_production(
    make_project: Any, command_line: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    rows = pd.DataFrame(rng.normal(size=(500, 3)).round(4), columns=["age", "income", "distance"])
    rows["target"] = rng.poisson(np.exp(0.7 + 0.6 * rows["age"] - 0.4 * rows["distance"]))
    project = project_of(
        make_project,
        rows,
        "count",
        train={"estimator": "own_models:Visits", "params": {"trees": 60}},
        evaluate={"thresholds": {"exact": {"min": 0.1}}},
    )
    command: CommandLine = command_line(project)
    without = command("validate-data")
    assert (without.code, "problem.task is 'count'" in without.out) == (2, True), without.err

    command.environment["PYTHONPATH"] = str(install_task_of_the_page(tmp_path))
    done = command("run", "cd", "--yes")
    assert done.code == 0, done.out + done.err
    checks = {check.name: check.verdict for check in command.report("evaluate").checks}
    assert checks["threshold exact"] == "pass"
    assert command.report("gate").metrics["primary"]["metric"] == "mae"
    manifest = json.loads((project.root / "build/ml/bundle/manifest.json").read_text())
    assert manifest["training"]["task"]["name"] == "count"
    assert manifest["training"]["estimator"] == "own_models:Visits"

    url, expected = production(command), golden(command)
    assert httpx.get(f"{url}/metadata").json()["task"] == "count"
    answer = httpx.post(f"{url}/predict", json={"features": expected["inputs"][0]}).json()
    assert answer["prediction"] == pytest.approx(expected["predictions"][0], abs=1e-2)

    half = rows.assign(target=rows["target"] + 0.5, id=entities(rows))
    half.to_csv(project.root / "data.csv", index=False)
    for stage in ("validate-data", "train"):
        refused = command(stage)
    assert (refused.code, "whole numbers from 0 on" in refused.out) == (1, True), refused.out
