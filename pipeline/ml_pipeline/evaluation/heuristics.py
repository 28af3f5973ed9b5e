"""What the problem's heuristics, learned on the training part alone, predict for the holdout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ml_pipeline.core.artefacts import (
    CLUSTER_COLUMN,
    ENTITY_COLUMN,
    GROUP_COLUMN,
    LABEL_COLUMN,
    PART_COLUMN,
    TIME_COLUMN,
)
from ml_pipeline.evaluation import baselines
from ml_pipeline.evaluation.row_alignment import positions
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.problem import Problem
    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]

KEYS = (TIME_COLUMN, ENTITY_COLUMN, GROUP_COLUMN, CLUSTER_COLUMN, LABEL_COLUMN)


def predict(
    matrix: pd.DataFrame, clean: pd.DataFrame, problem: Problem, task: Task = BINARY
) -> dict[str, Floats]:
    """Return the predictions of the constant and of each heuristic, in the holdout's order.

    Args:
        matrix: ``matrix.parquet``, with ``__part`` and ``__label``.
        clean: ``clean.parquet``, all of it.
        problem: Knows the heuristics.
        task: What is predicted.
    """
    import pandas as pd

    part = matrix[PART_COLUMN]
    train, holdout = (part == "train").to_numpy(), (part == "holdout").to_numpy()
    labels = matrix.loc[train, LABEL_COLUMN].to_numpy(dtype="float64")
    found = {task.baseline: baselines.constant(labels, int(holdout.sum()), task)}
    if pd.api.types.is_datetime64_any_dtype(matrix[TIME_COLUMN]):
        found |= task.dated_baselines(matrix.loc[train], matrix.loc[holdout])
    for name, signal in _signals(matrix, clean, problem).items():
        found[name] = baselines.from_signal(signal[train], labels, signal[holdout], task)
    return found


def _signals(matrix: pd.DataFrame, clean: pd.DataFrame, problem: Problem) -> Mapping[str, Floats]:
    """Return the problem's heuristics as one raw signal for each row of the matrix.

    A matrix that is a sample of undated rows is not found again in the clean rows: no heuristics.
    """
    from ml_pipeline.problem import Matrix

    place = positions(clean, matrix, problem)
    if place is None:
        return {}
    every = matrix.set_axis(place).reindex(range(len(clean)))
    keys = every[[name for name in KEYS[:-1] if name in every]]
    whole = Matrix(
        features=every[[name for name in every.columns if not name.startswith("__")]],
        label=every[LABEL_COLUMN],
        keys=keys.rename(columns=lambda name: name.removeprefix("__")),
    )
    signals = problem.heuristic(clean, whole)
    return {name: signal.to_numpy(dtype="float64")[place] for name, signal in signals.items()}
