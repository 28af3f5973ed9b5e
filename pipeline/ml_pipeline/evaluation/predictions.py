"""Predictions for the holdout: those of the model, of its baselines and of the heuristics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ml_pipeline.core import workdir
from ml_pipeline.core.artefacts import LABEL_COLUMN, PART_COLUMN
from ml_pipeline.evaluation import baselines, heuristics
from ml_pipeline.tasks.base import as_column

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.features.schema import FeatureSchema
    from ml_pipeline.problem import Problem
    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]


def baseline_predictions(
    matrix: pd.DataFrame,
    clean: pd.DataFrame,
    holdout: pd.DataFrame,
    schema: FeatureSchema,
    problem: Problem,
    task: Task,
    seed: int,
) -> dict[str, Floats]:
    """Return what the baselines, fitted to the training part, predict for the holdout.

    Args:
        matrix: ``matrix.parquet``, with ``__part`` and ``__label``.
        clean: ``clean.parquet``.
        holdout: ``holdout.parquet``; the predictions are in its order.
        schema: How raw features are encoded for the linear model.
        problem: Has the heuristics.
        task: What is predicted.
        seed: Of the linear model's solver.

    Raises:
        Refused: no baseline can be fitted to the training labels.
    """
    train = matrix[(matrix[PART_COLUMN] == "train").to_numpy()]
    predictions = heuristics.predict(matrix, clean, problem, task)
    predictions[task.linear_baseline] = baselines.linear(
        schema.encode(train).astype("float64"),
        train[LABEL_COLUMN].to_numpy(dtype="float64"),
        schema.encode(holdout).astype("float64"),
        seed,
        task,
    )
    return predictions


def write(path: Path, holdout: pd.DataFrame, predictions: Mapping[str, Floats]) -> None:
    """Write the holdout's keys and a column of predictions for each predictor."""
    columns = {name: as_column(values) for name, values in predictions.items()}
    frame = holdout[[name for name in heuristics.KEYS if name in holdout]].assign(**columns)
    with workdir.atomic_path(path) as temporary:
        frame.to_parquet(temporary, index=False)
