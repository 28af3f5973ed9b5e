"""The baselines of a model: a constant, the problem's heuristics, a linear model.

All of them learn on the training part alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ml_pipeline.core.errors import Refused
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.evaluation.holdout import Sample
    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]

TRAINED = frozenset({"model", "logistic_regression", "ridge"})
"""Predictors that are trained models: the challenger and the tasks' linear models."""
LEVELS = 20
"""A signal with more distinct values than this is cut at its quantiles."""
PRIOR_ROWS = 20.0
"""How many rows at the base rate each level of a signal starts from."""
CLIP = 5.0
"""Standard deviations at which a feature is cut before the linear model."""


def constant(labels: Floats, rows: int, task: Task = BINARY) -> Floats:
    """Return the mean target of the training labels for each of ``rows`` rows.

    Of binary labels that is the base rate, of classes their shares, of numbers their mean.

    Raises:
        Refused: there are no training labels.
    """
    import numpy as np

    if not len(labels):
        raise Refused(
            f"no labelled row to learn the {task.baseline_title} from", expected="a training part"
        )
    targets = task.targets(labels)
    if targets.ndim == 1:
        return np.full(rows, float(targets.mean()))
    return np.tile(targets.mean(axis=0), (rows, 1))


def from_signal(
    train_signal: Floats, labels: Floats, signal: Floats, task: Task = BINARY
) -> Floats:
    """Turn a raw signal into predictions: the mean target at its level in training.

    Of binary labels that is the share of class 1. Each level starts from twenty rows at the mean of
    all, so that a rare one claims little. A missing signal is a level of its own, as far as
    training has it; what training never saw gets the mean of all.

    Args:
        train_signal: The training rows' signal [t], NaN where there is none.
        labels: Their labels [t].
        signal: The signal of the rows to predict [n].
        task: What is predicted.
    """
    import numpy as np

    targets = task.targets(labels)
    rate = constant(labels, 1, task)[0]
    known = train_signal[np.isfinite(train_signal)]
    distinct = np.unique(known)
    if len(distinct) > LEVELS:
        distinct = np.unique(np.quantile(known, np.arange(LEVELS) / LEVELS))

    def level(values: Floats) -> NDArray[np.int64]:
        place = np.searchsorted(distinct, values, side="right")
        return np.where(np.isfinite(values), place, len(distinct) + 1)

    size = len(distinct) + 2
    rows = np.bincount(level(train_signal), minlength=size)

    def learned(column: Floats, mean: float) -> Floats:
        sums = np.bincount(level(train_signal), weights=column, minlength=size)
        found: Floats = ((sums + PRIOR_ROWS * mean) / (rows + PRIOR_ROWS))[level(signal)]
        return found

    if targets.ndim == 1:
        return learned(targets, rate)
    return np.stack([learned(*pair) for pair in zip(targets.T, rate, strict=True)], axis=1)


def linear(train: Floats, labels: Floats, rows: Floats, seed: int, task: Task = BINARY) -> Floats:
    """Return the predictions of the task's linear model on standardised, encoded features.

    A missing value becomes the training mean, what lies beyond five standard deviations is cut.

    Args:
        train: The training rows' encoded features [t, width].
        labels: Their labels [t].
        rows: The encoded features of the rows to predict [n, width].
        seed: Of the solver.
        task: What is predicted.

    Raises:
        Refused: no model can be fitted to the training labels.
    """
    import numpy as np

    known = np.isfinite(train)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, train, 0.0).sum(axis=0, dtype=np.float64) / count
    spread = np.sqrt((np.where(known, train - mean, 0.0) ** 2).sum(axis=0) / count)
    scale = np.where(spread > 0, spread, 1.0)

    def standardised(values: Floats) -> Floats:
        moved = np.where(np.isfinite(values), (values - mean) / scale, 0.0)
        return np.clip(moved, -CLIP, CLIP)

    return task.linear(standardised(train), labels, standardised(rows), seed)


def heuristics(predictors: Iterable[str]) -> list[str]:
    """Return the predictors that are no trained models: the constant and the problem's signals."""
    return [name for name in predictors if name not in TRAINED]


def best_heuristic(metric: str, sample: Sample, predictions: Mapping[str, Floats]) -> str:
    """Return the heuristic that is best by ``metric`` on the very rows that will be compared.

    Choosing by the same rows errs against the challenger: a test against the best is a test
    against each, and holds its error rate. Where the rows do not define the metric, or on a tie,
    it is the first, the constant.

    Raises:
        Refused: there is no heuristic.
    """
    import math

    names = heuristics(predictions)
    if not names:
        raise Refused("no heuristic to compare with", expected=f"at least {sample.task.baseline}")
    measured = sample.task.metrics[metric]
    sign = 1 if measured.higher_is_better else -1

    def score(name: str) -> float:
        found = sign * measured.value(sample.labels, predictions[name], sample.codes)
        return found if math.isfinite(found) else -math.inf

    return max(names, key=score)
