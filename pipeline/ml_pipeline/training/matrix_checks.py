"""What a matrix must be before anything is fitted; each fault is one line naming the culprit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.problem import Matrix
    from ml_pipeline.tasks.base import Task
    from ml_pipeline.training.estimators.base import Vector
    from ml_pipeline.training.split import Part, Split


def require_usable(matrix: Matrix, task: Task = BINARY) -> None:
    """Check features and labels of all rows.

    Raises:
        UsageError: there is no feature, or a feature's name is reserved.
        Refused: no row, no label, a label that is none of the task, or infinite values.
    """
    names = [str(name) for name in matrix.features.columns]
    if not names:
        raise UsageError(
            "there is no feature",
            expected="features.standard or features.modules to give at least one",
        )
    for name in names:
        if name.startswith("__"):
            raise UsageError(f"feature '{name}'", expected="a name without leading underscores")
    if not len(matrix.features):
        raise Refused("no rows are left to train on", hint="see data/quarantine.parquet")
    label = matrix.label.to_numpy(dtype=np.float64)
    known = label[~np.isnan(label)]
    if not len(known):
        raise Refused(
            f"none of {len(label)} rows has a label",
            hint="too few rows an entity, or the label column is empty",
        )
    task.check_labels(known)
    infinite = _infinite(matrix.features)
    if infinite:
        name, count = max(infinite.items(), key=lambda item: item[1])
        raise Refused(
            f"feature '{name}' is infinite in {count} rows"
            + (f", and {len(infinite) - 1} other features in some" if len(infinite) > 1 else ""),
            expected="finite numbers or missing values",
            hint="a division by zero in the feature's code, or a number beyond float32",
        )


def require_enough(
    split: Split, label: Vector, min_rows: int, task: Task = BINARY, *, quick: bool = False
) -> None:
    """Check that every part has rows, the training part enough of them, and all the labels needed.

    A quick run needs them in the training part only.

    Raises:
        Refused: it has not.
    """
    train = label[split.rows("train")]
    if len(train) < min_rows:
        raise Refused(
            f"{len(train)} rows to train on",
            expected=f"at least train.min_rows, {min_rows}",
            hint="bring more data, or lower split.holdout_days, split.validation_days "
            "or train.min_rows",
        )
    for part in ("validation", "holdout"):
        if not len(split.rows(part)):
            raise Refused(
                f"no row is left for the {part} part of {len(label)} rows",
                hint="bring more data or raise the part's share",
            )
    if fault := task.training_fault(train):
        binary = task.name == BINARY.name
        raise Refused(
            f"all {len(train)} training rows {fault}",
            expected="both classes" if binary else "labels that differ",
        )
    parts: tuple[Part, ...] = ("train", "validation", "holdout")
    for part in parts if not quick else ():
        task.check_part(part, label[split.rows(part)])


def empty_features(features: pd.DataFrame) -> list[str]:
    """Return the features that have no value in any of the rows."""
    filled = features.notna().any()
    return [str(name) for name in features.columns if not filled[name]]


def _infinite(features: pd.DataFrame) -> dict[str, int]:
    numbers = features.select_dtypes("number")
    with np.errstate(over="ignore"):
        counts = np.isinf(numbers.to_numpy(dtype=np.float32)).sum(axis=0)
    return {
        str(name): int(count) for name, count in zip(numbers.columns, counts, strict=True) if count
    }
