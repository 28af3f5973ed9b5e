"""What production's prediction log holds for a replay."""

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
class Recorded:
    """A row that production answered, with the id of its request."""

    request_id: str
    features: list[Any]


def fetch_log(placement: Placement) -> Path:
    """Return the folder of an environment's prediction log, as its servers have it by now.

    Raises:
        EnvironmentFault: they keep it elsewhere, and it is unavailable there.
    """
    target = load_target(placement.section.target)
    if isinstance(target, HasRemotePredictionLog):
        target.fetch_predictions(placement)
    return server_arguments.log_folder(placement)


def log_of(project: Project, home: Home, environment: str) -> Path:
    """Return the folder of an environment's prediction log, whether the project has it or not.

    Raises:
        EnvironmentFault: its servers keep it elsewhere, and it cannot be copied from there.
    """
    if environment not in project.config.environments:
        return server_arguments.prediction_folder(project.serving, home, environment)
    return fetch_log(Placement.of(project, environment, home))


def newest(
    folder: Path, *, version: int | None, features: Sequence[str], count: int
) -> list[Recorded]:
    """Return the newest rows that clients asked of a version, oldest first, ``count`` at most.

    Args:
        folder: of the log; none is an empty log.
        version: that answered.
        features: names and order; rows of a model with others are left out.
        count: at most.

    Raises:
        Refused: a file is no prediction log.
    """
    wanted = version, list(features)
    rows: deque[Recorded] = deque(maxlen=count)
    for source, logged in prediction_log.read(folder):
        if (source.model_version, source.features) == wanted and not logged.is_probe:
            rows.extend(Recorded(logged.request_id, row) for row in logged.features)
    return list(rows)
