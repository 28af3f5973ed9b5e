"""What a model has to beat: the base rate, the problem's heuristics, a logistic regression.

All of them learn on the training part alone and predict probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ml_pipeline.core.errors import Refused
from ml_pipeline.evaluation.metrics import METRICS, value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.evaluation.holdout import Sample

    Floats = NDArray[np.float64]

BASE_RATE = "base_rate"
LOGISTIC_REGRESSION = "logistic_regression"
LEVELS = 20
"""A signal with more distinct values than this is cut at its quantiles."""
PRIOR_ROWS = 20.0
"""How many rows at the base rate each level of a signal starts from."""
CLIP = 5.0
"""Standard deviations at which a feature is cut before the logistic regression."""


def base_rate(labels: Floats, rows: int) -> Floats:
    """Return the share of class 1 among the training labels, for each of ``rows`` rows.

    Raises:
        Refused: there are no training labels.
    """
    import numpy as np

    if not len(labels):
        raise Refused("no labelled row to learn the base rate from", expected="a training part")
    return np.full(rows, float(labels.mean()))


def from_signal(train_signal: Floats, labels: Floats, signal: Floats) -> Floats:
    """Turn a raw signal into probabilities: the share of class 1 at its level in training.

    Each level starts from twenty rows at the base rate, so that a rare one claims little. A
    missing signal is a level of its own, as far as training has it; what training never saw gets
    the base rate.

    Args:
        train_signal: The training rows' signal [t], NaN where there is none.
        labels: Their labels [t].
        signal: The signal of the rows to predict [n].
    """
    import numpy as np

    rate = base_rate(labels, 1)[0]
    known = train_signal[np.isfinite(train_signal)]
    distinct = np.unique(known)
    if len(distinct) > LEVELS:
        distinct = np.unique(np.quantile(known, np.arange(LEVELS) / LEVELS))

    def level(values: Floats) -> NDArray[np.int64]:
        place = np.searchsorted(distinct, values, side="right")
        return np.where(np.isfinite(values), place, len(distinct) + 1)

    size = len(distinct) + 2
    rows = np.bincount(level(train_signal), minlength=size)
    ups = np.bincount(level(train_signal), weights=labels, minlength=size)
    rates = (ups + PRIOR_ROWS * rate) / (rows + PRIOR_ROWS)
    result: Floats = rates[level(signal)]
    return result


def logistic_regression(train: Floats, labels: Floats, rows: Floats, seed: int) -> Floats:
    """Return the probabilities of a logistic regression on standardised, encoded features.

    A missing value becomes the training mean, what lies beyond five standard deviations is cut.

    Args:
        train: The training rows' encoded features [t, width].
        labels: Their labels [t], both classes.
        rows: The encoded features of the rows to predict [n, width].
        seed: Of the solver.

    Raises:
        Refused: the training labels are of one class.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels)) != 2:
        raise Refused("the training labels are of one class", expected="both classes")
    known = np.isfinite(train)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, train, 0.0).sum(axis=0, dtype=np.float64) / count
    spread = np.sqrt((np.where(known, train - mean, 0.0) ** 2).sum(axis=0) / count)
    scale = np.where(spread > 0, spread, 1.0)

    def standardised(values: Floats) -> Floats:
        moved = np.where(np.isfinite(values), (values - mean) / scale, 0.0)
        return np.clip(moved, -CLIP, CLIP)

    model = LogisticRegression(max_iter=1000, random_state=seed)
    model.fit(standardised(train), labels.astype(np.int64))
    probabilities: Floats = model.predict_proba(standardised(rows))[:, 1]
    return probabilities


def heuristics(predictors: Iterable[str]) -> list[str]:
    """Return the predictors that are no trained models: the base rate and the problem's signals."""
    return [name for name in predictors if name not in ("model", LOGISTIC_REGRESSION)]


def best_heuristic(metric: str, sample: Sample, predictions: Mapping[str, Floats]) -> str:
    """Return the heuristic that is best by ``metric`` on the very rows that will be compared.

    Choosing by the same rows errs against the challenger: a test against the best is a test
    against each, and holds its error rate. Where the rows do not define the metric, or on a tie,
    it is the first, the base rate.

    Raises:
        Refused: there is no heuristic.
    """
    import math

    names = heuristics(predictions)
    if not names:
        raise Refused("no heuristic to compare with", expected=f"at least {BASE_RATE}")
    sign = 1 if METRICS[metric].higher_is_better else -1

    def score(name: str) -> float:
        found = sign * value(metric, sample.labels, predictions[name], sample.codes)
        return found if math.isfinite(found) else -math.inf

    return max(names, key=score)
