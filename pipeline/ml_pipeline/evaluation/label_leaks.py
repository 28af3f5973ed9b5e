"""Features that alone predict the label nearly perfectly: as a rule they were made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.evaluation import baselines
from ml_pipeline.evaluation.metrics import auc

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NAME = "features that alone predict the label"
LEAST = 10
"""Rows of each class that the holdout needs."""
SHOWN = 5


def feature_aucs(matrix: pd.DataFrame, features: Sequence[str]) -> dict[str, float]:
    """Return the AUC on the holdout of each feature alone, the largest first.

    Of a number it is the larger one of two: of its order, in either direction, and of the share of
    class 1 at its level in training, which also sees bands and missing values. Of a category it is
    that of the share of class 1 in training. Empty where the holdout has too few rows of a class.

    Args:
        matrix: ``matrix.parquet``, with ``__part`` and ``__label``.
        features: The model's.
    """
    import pandas as pd

    rows = matrix[matrix["__label"].notna()]
    train, held = rows[rows["__part"] == "train"], rows[rows["__part"] == "holdout"]
    learned = train["__label"].to_numpy(dtype="float64")
    labels = held["__label"].to_numpy(dtype="float64")
    if min(int(labels.sum()), int((1 - labels).sum())) < LEAST or not len(learned):
        return {}
    found = {}
    for name in features:
        numeric = pd.api.types.is_numeric_dtype(matrix[name].dtype)
        if numeric and not pd.api.types.is_bool_dtype(matrix[name].dtype):
            one, other = (part[name].to_numpy(dtype="float64") for part in (train, held))
            found[name] = max(
                _either_way(labels, other),
                auc(labels, baselines.from_signal(one, learned, other)),
            )
        else:
            found[name] = auc(labels, _shares(train[name], learned, held[name]))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


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
        why=f"{next(iter(leaky))} alone tells the label: is it known at the time of prediction, or "
        "was it made from the label, or numbered in its order? leave it out if so"
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


def _shares(train: pd.Series, labels: Floats, held: pd.Series) -> Floats:
    """Return the share of class 1 in training of each row's category, that of all for a new one."""
    import pandas as pd

    rate = float(labels.mean())
    named = train.astype("object").where(train.notna(), None).map(repr)
    sums = pd.Series(labels).groupby(named.to_numpy()).agg(["sum", "count"])
    prior = baselines.PRIOR_ROWS
    shares = (sums["sum"] + prior * rate) / (sums["count"] + prior)
    wanted = held.astype("object").where(held.notna(), None).map(repr)
    found: Floats = wanted.map(shares).fillna(rate).to_numpy(dtype="float64")
    return found
