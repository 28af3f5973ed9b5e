"""What a matrix must be before anything is fitted; each fault is one line naming the culprit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml_pipeline.core.errors import Refused, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.problem import Matrix
    from ml_pipeline.training.estimators.base import Vector
    from ml_pipeline.training.split import Part, Split


def require_usable(matrix: Matrix) -> None:
    """Check features and labels of all rows.

    Raises:
        UsageError: there is no feature, or a feature's name is reserved.
        Refused: no row, no label, a label that is not 0 or 1, or infinite values.
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
    strange = known[(known != 0) & (known != 1)]
    if len(strange):
        raise Refused(f"{len(strange)} labels such as {strange[0]:g}", expected="0 or 1")
    infinite = _infinite(matrix.features)
    if infinite:
        name, count = max(infinite.items(), key=lambda item: item[1])
        raise Refused(
            f"feature '{name}' is infinite in {count} rows"
            + (f", and {len(infinite) - 1} other features in some" if len(infinite) > 1 else ""),
            expected="finite numbers or missing values",
            hint="a division by zero in the feature's code, or a number beyond float32",
        )


FEWEST_OF_A_CLASS = 5
"""Rows of the rarer class in the training part: fewer say nothing about the next one."""


def require_enough(split: Split, label: Vector, min_rows: int, *, quick: bool = False) -> None:
    """Check that every part has rows, the training part enough of them, and all of both classes.

    A quick run is asked for both classes in the training part only.

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
    rate = train.mean()
    if rate in (0.0, 1.0):
        raise Refused(
            f"all {len(train)} training rows are of class {rate:.0f}", expected="both classes"
        )
    least: dict[Part, int] = {"train": FEWEST_OF_A_CLASS, "validation": 1, "holdout": 1}
    for part, fewest in least.items() if not quick else ():
        labels = label[split.rows(part)]
        for number, name in ((1, "positives"), (0, "negatives")):
            found = int((labels == number).sum())
            if found < fewest:
                raise Refused(
                    f"too few {name}: {found} of the {len(labels)} rows of the {part} part",
                    expected=f"at least {fewest}",
                    hint="bring more data, or raise the part's days or share in split",
                )


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
