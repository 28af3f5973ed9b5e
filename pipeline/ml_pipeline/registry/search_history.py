"""History of a parameter search in the run of a registered version."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ml_pipeline.training.training_record import Trial

if TYPE_CHECKING:
    from ml_pipeline.bundle.reader import Bundle

METRIC = "search_mean_loss"
FILE = "search.json"
BATCH = 1000
"""Metrics that MLflow takes in one call."""


def log_search(client: Any, run_id: str, bundle: Bundle) -> None:
    """Log each trial as one step of a metric, and all with parameters and scores as an artefact.

    Args:
        client: MLflow's.
        run_id: Of the version's run.
        bundle: Its manifest holds the trials; without any nothing is logged.
    """
    from mlflow.entities import Metric

    trials = [Trial.model_validate(each) for each in bundle.manifest["training"].get("search", ())]
    if not trials:
        return
    now = int(datetime.now(UTC).timestamp() * 1000)
    steps = [Metric(METRIC, trial.mean, now, number) for number, trial in enumerate(trials)]
    for begin in range(0, len(steps), BATCH):
        client.log_batch(run_id, metrics=steps[begin : begin + BATCH])
    listed = [trial.model_dump(mode="json") | {"mean": trial.mean} for trial in trials]
    client.log_dict(run_id, {"trials": listed}, FILE)
