"""Features that alone predict the label nearly perfectly: most were computed from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ml_pipeline.core.artefacts import LABEL_COLUMN, PART_COLUMN
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.evaluation import baselines
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.tasks.binary_metrics import auc

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]

NAME = "features that alone predict the label"
LEAST = 10
"""Rows of each class that the holdout needs."""
SHOWN = 5


def feature_aucs(
    matrix: pd.DataFrame, features: Sequence[str], task: Task = BINARY
) -> dict[str, float]:
    """Return the AUC on the holdout of each feature alone, the largest first.

    Of a number it is the larger one of two: of its order, in either direction, and of the share of
    class 1 at its level in training, which also sees bands and missing values. Of a category it is
    that of the share of class 1 in training. Empty where the holdout has too few rows of a class.
    Of several classes it is the mean over each of them against the others, of numbers that of lying
    above the median.

    Args:
        matrix: ``matrix.parquet``, with ``__part`` and ``__label``.
        features: The model's.
        task: What the label is.
    """
    import numpy as np
    import pandas as pd

    rows = matrix[matrix[LABEL_COLUMN].notna()]
    train, holdout = rows[rows[PART_COLUMN] == "train"], rows[rows[PART_COLUMN] == "holdout"]
    learned = train[LABEL_COLUMN].to_numpy(dtype="float64")
    labels = holdout[LABEL_COLUMN].to_numpy(dtype="float64")
    if not len(learned) or not len(labels):
        return {}
    views = task.binary_labels(learned, labels)
    if min(min(int(one.sum()), int((1 - one).sum())) for _, one in views) < LEAST:
        return {}
    found = {}
    for name in features:
        numeric = pd.api.types.is_numeric_dtype(matrix[name].dtype)
        is_number = numeric and not pd.api.types.is_bool_dtype(matrix[name].dtype)
        areas = [
            _number_auc(train[name], before, holdout[name], after)
            if is_number
            else auc(after, _shares(train[name], before, holdout[name]))
            for before, after in views
        ]
        found[name] = float(np.mean(areas)) if len(areas) > 1 else areas[0]
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _number_auc(train: pd.Series, learned: Floats, holdout: pd.Series, labels: Floats) -> float:
    one, other = (part.to_numpy(dtype="float64") for part in (train, holdout))
    return max(
        _either_way(labels, other),
        auc(labels, baselines.from_signal(one, learned, other)),
    )


def check(aucs: Mapping[str, float], limit: float, *, required: bool) -> Check:
    """Return whether no feature alone reaches the limit; those that do are named.

    Args:
        aucs: As ``feature_aucs`` returns them.
        limit: The largest AUC that a single feature may have.
        required: Whether the check stops anything; what was not measured does not pass then.
    """
    expected = f"an AUC of at most {limit:g} for each feature alone"
    if not aucs:
        return Check(
            name=NAME,
            verdict=Verdict.INCONCLUSIVE if required else Verdict.SKIPPED,
            required=required,
            observed="not measured",
            expected=expected,
            why=f"the holdout has fewer than {LEAST} rows of one class",
        )
    leaky = {name: value for name, value in aucs.items() if value > limit}
    more = f" and {len(leaky) - SHOWN} more" if len(leaky) > SHOWN else ""
    shown = ", ".join(f"{name} {value:.3f}" for name, value in list(leaky.items())[:SHOWN])
    largest, value = next(iter(aucs.items()))
    return Check(
        name=NAME,
        verdict=Verdict.FAIL if leaky else Verdict.PASS,
        required=required,
        observed=f"{shown}{more}" if leaky else f"the largest is {value:.3f}, of {largest}",
        expected=expected,
        why=f"{next(iter(leaky))} alone predicts the label: is it known at the time of prediction? "
        "leave it out if it was computed from the label, or numbered in its order"
        if leaky
        else "",
    )


def _either_way(labels: Floats, values: Floats) -> float:
    import numpy as np

    known = np.isfinite(values)
    if not known.any():
        return 0.5
    found = auc(labels, np.where(known, values, np.median(values[known])))
    return max(found, 1 - found)


def _shares(train: pd.Series, labels: Floats, holdout: pd.Series) -> Floats:
    """Return the share of class 1 in training of each row's category, that of all for a new one."""
    import pandas as pd

    rate = float(labels.mean())
    named = train.astype("object").where(train.notna(), None).map(repr)
    sums = pd.Series(labels).groupby(named.to_numpy()).agg(["sum", "count"])
    prior = baselines.PRIOR_ROWS
    shares = (sums["sum"] + prior * rate) / (sums["count"] + prior)
    categories = holdout.astype("object").where(holdout.notna(), None).map(repr)
    found: Floats = categories.map(shares).fillna(rate).to_numpy(dtype="float64")
    return found
