"""Requests of production's prediction log, for a replay."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_pipeline.config import Project
from ml_pipeline.core.home import Home
from ml_pipeline.serving import prediction_log
from ml_pipeline.targets import server_arguments
from ml_pipeline.targets.base import HasRemotePredictionLog, Placement
from ml_pipeline.targets.loader import load_target


@dataclass(frozen=True)
class RecordedRow:
    """A row that production predicted, with its request id."""

    request_id: str
    features: list[Any]


def fetch_log(placement: Placement) -> Path:
    """Return the folder of an environment's prediction log, with the newest entries of its servers.

    Raises:
        EnvironmentFault: the log is on another machine and cannot be fetched.
    """
    target = load_target(placement.section.target)
    if isinstance(target, HasRemotePredictionLog):
        target.fetch_predictions(placement)
    return server_arguments.log_folder(placement)


def prediction_log_folder(project: Project, home: Home, environment: str) -> Path:
    """Return the folder of an environment's prediction log; ``ml.yaml`` may lack the environment.

    Raises:
        EnvironmentFault: the log is on another machine and cannot be fetched.
    """
    if environment not in project.config.environments:
        return server_arguments.prediction_folder(project.serving, home, environment)
    return fetch_log(Placement.of(project, environment, home))


def newest(
    folder: Path, *, version: int | None, features: Sequence[str], count: int
) -> list[RecordedRow]:
    """Return the newest rows that clients sent to a version, oldest first.

    Rows with redacted features, which a model cannot predict, are left out, and rows that
    ``ml-pipeline forget`` removed.

    Args:
        folder: Of the log; a missing folder is an empty log.
        version: Of the model that predicted.
        features: Names in order; rows of a model with other features are left out.
        count: Maximum number of rows.

    Raises:
        Refused: a file is not a prediction log.
    """
    model = version, list(features)
    rows: deque[RecordedRow] = deque(maxlen=count)
    for source, logged in prediction_log.read(folder):
        if (source.model_version, source.features) != model or logged.is_probe or source.hashed:
            continue
        rows.extend(RecordedRow(logged.request_id, row) for row in logged.features if row)
    return list(rows)


def redacted_features(folder: Path, version: int | None) -> list[str]:
    """Return the features of a version that a file of the log has hashed, or omits.

    Raises:
        Refused: a file is not a prediction log.
    """
    found: set[str] = set()
    for path in prediction_log.files(folder):
        model = prediction_log.read_model(path)
        if model is not None and model.model_version == version:
            found |= {*model.hashed, *model.omitted}
    return sorted(found)
