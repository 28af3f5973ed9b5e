"""The run of a version holds the trials of its parameter search."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.registry.search_history import log_search

TRIALS = [
    {"params": {"max_depth": 3}, "scores": [0.75, 0.25]},
    {"params": {"max_depth": 5}, "scores": [0.5, 0.125]},
]


@pytest.fixture
def client(tmp_path: Path, registry_database: Path) -> Any:
    import mlflow

    database = tmp_path / "mlflow.db"
    database.write_bytes(registry_database.read_bytes())
    return mlflow.MlflowClient(f"sqlite:///{database}", f"sqlite:///{database}")


def test_each_trial_is_a_step_and_the_parameters_are_an_artefact(
    client: Any, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    experiment = client.create_experiment("small", (tmp_path / "artefacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    log_search(client, run_id, Bundle.open(make_bundle(training={"search": TRIALS})))
    history = client.get_metric_history(run_id, "search_mean_loss")
    assert [(one.step, one.value) for one in history] == [(0, 0.5), (1, 0.3125)]
    (tmp_path / "down").mkdir()
    file = client.download_artifacts(run_id, "search.json", str(tmp_path / "down"))
    listed = json.loads(Path(file).read_text())["trials"]
    assert [one["params"] for one in listed] == [{"max_depth": 3}, {"max_depth": 5}]
    assert listed[0]["scores"] == [0.75, 0.25]


def test_without_a_search_nothing_is_logged(
    client: Any, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    experiment = client.create_experiment("small", (tmp_path / "artefacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    log_search(client, run_id, Bundle.open(make_bundle(training={})))
    assert client.get_run(run_id).data.metrics == {}
    assert client.list_artifacts(run_id) == []
