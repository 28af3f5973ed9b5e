"""LightGBM with a search, and an estimator of the project's own, from daily bars to production."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from tests.integration.conftest import CommandLine, free_port

OWN = '''"""An estimator of the project's own."""

from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline


def Churn(trees: int = 100) -> Pipeline:
    """Return shallow boosted trees on imputed features."""
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        GradientBoostingClassifier(
            n_estimators=trees, learning_rate=0.05, max_depth=2, subsample=0.8
        ),
    )
'''
SEARCH = {"trials": 3, "ranges": {"num_leaves": {"low": 4, "high": 16}}}


@pytest.fixture
def delivered(make_project: Any, command_line: Any) -> Any:
    """Deliver a project with such a ``train`` section; return its command line."""

    def deliver(train: dict[str, Any]) -> CommandLine:
        project = make_project(
            bare=True,
            project="small",
            data={
                "source": {"kind": "simulated", "symbols": 30, "days": 420, "seed": 3, "edge": 0.6}
            },
            split={"holdout_days": 120, "validation_days": 40, "folds": 1, "fold_days": 40},
            train=train,
            evaluate={"resamples": 50},
            load_test={"rate": 150, "seconds": 1, "warmup": 0.2, "p99_ms": 3000},
            shadow={"requests": 200, "p99_ms": 3000, "timeout_ms": 9000},
            environments={"staging": {"port": free_port()}, "production": {"port": free_port()}},
        )
        (project.root / "my_models.py").write_text(OWN)
        made: CommandLine = command_line(project)
        done = made("run", "cd", "--yes")
        assert done.code == 0, done.out + done.err
        return made

    return deliver


def answer_of_production(delivery: CommandLine) -> Any:
    holdout = pd.read_parquet(delivery.project.root / "build/ml/data/holdout.parquet")
    row = holdout.filter(regex="^(?!__)").tail(1).astype(object)
    features = row.where(row.notna(), None).iloc[0].tolist()
    url = delivery.status()["production"]["url"]
    return httpx.post(f"{url}/predict", json={"features": features}).json()


def manifest_of(delivery: CommandLine) -> Any:
    return json.loads((delivery.project.root / "build/ml/bundle/manifest.json").read_text())


@pytest.mark.slow
def test_lightgbm_chosen_by_a_search(delivered: Any) -> None:
    delivery = delivered({"estimator": "lightgbm", "max_epochs": 60, "search": SEARCH})
    assert 0 < answer_of_production(delivery)["probability"] < 1
    manifest = manifest_of(delivery)
    assert "model.lgbm" in manifest["files"]
    assert len(manifest["training"]["search"]) == 3
    checks = {check.name: check.verdict for check in delivery.report("package").checks}
    assert checks["native LightGBM on all rows"] == "pass"
    assert not Path(delivery.project.root / "build/ml/search/trials.jsonl").exists()


@pytest.mark.slow
def test_an_estimator_of_the_project(delivered: Any) -> None:
    delivery = delivered({"estimator": "my_models:Churn", "params": {"trees": 30}})
    assert 0 < answer_of_production(delivery)["probability"] < 1
    assert manifest_of(delivery)["training"]["estimator"] == "my_models:Churn"
