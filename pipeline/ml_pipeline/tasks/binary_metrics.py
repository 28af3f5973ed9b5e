"""The metrics of a probability classifier, as functions of labels and probabilities.

``labels`` are 0 or 1 [n], ``probabilities`` those of class 1 [n], ``day`` the cluster of each row
[n], whole numbers in time order. docs/reference/metrics.md gives the definitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.statistics.resampling import Statistic, weighted_auc
from ml_pipeline.tasks.metrics import Metric, by_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

BINS = 10
"""Bins of the calibration error: deciles of the predicted probability."""
THRESHOLD = 0.5
"""A probability at or above it counts as a prediction of class 1."""


# --- values -----------------------------------------------------------------------------------


def log_loss(labels: Floats, probabilities: Floats) -> float:
    """Return the mean negative log likelihood in nats; probabilities are clipped at 2.2e-16."""
    return float(_log_losses(labels, probabilities).mean())


def brier_score(labels: Floats, probabilities: Floats) -> float:
    """Return the mean squared difference of probability and label (Brier, 1950)."""
    return float(_squares(labels, probabilities).mean())


def accuracy(labels: Floats, probabilities: Floats) -> float:
    """Return the share of rows whose class at a threshold of 0.5 is the label."""
    return float(_hits(labels, probabilities).mean())


def auc(labels: Floats, probabilities: Floats) -> float:
    """Return the area under the ROC curve, ties counted one half; NaN with a single class."""
    import numpy as np

    return float(_auc_by_day(labels, probabilities, np.zeros(len(labels), dtype=np.int64), 1)[0])


def within_day_auc(labels: Floats, probabilities: Floats, day: Integers) -> float:
    """Return the mean over days of the AUC across that day's rows; NaN if no day has both classes.

    What moves all entities of a day alike cancels. Each day that has both classes counts the same;
    the others are left out.
    """
    return METRICS["within_day_auc"].value(labels, probabilities, day)


def calibration_error(labels: Floats, probabilities: Floats) -> float:
    """Return the expected calibration error over ten bins of equal count.

    The mean, weighted by rows, of |mean probability - share of class 1| per bin; bins are deciles
    of the probabilities, equal probabilities share a bin (Nguyen and O'Connor, 2015).
    """
    import numpy as np

    gaps = np.bincount(_bins(probabilities), weights=probabilities - labels, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels))


# --- under resampling -----------------------------------------------------------------------


def _resampled_calibration_error(
    labels: Floats, probabilities: Floats, codes: Integers, clusters: int
) -> Statistic:
    """Return the calibration error of drawn clusters; the bins are those of the whole sample."""
    import numpy as np

    rows = np.bincount(codes, minlength=clusters).astype(np.float64)
    cells = codes * BINS + _bins(probabilities)
    cell_sums = np.bincount(cells, weights=probabilities - labels, minlength=clusters * BINS)
    gaps = cell_sums.reshape(clusters, BINS).astype(np.float64)

    def calibration(counts: Floats) -> Floats:
        error: Floats = np.abs(counts @ gaps).sum(axis=1) / (counts @ rows)
        return error

    return calibration


def _resampled_auc(
    labels: Floats,
    probabilities: Floats,
    codes: Integers,
    clusters: int,  # noqa: ARG001 - every statistic is called alike
) -> Statistic:
    return weighted_auc(labels, probabilities, codes)


# --- parts ------------------------------------------------------------------------------------


def _log_losses(labels: Floats, probabilities: Floats) -> Floats:
    import numpy as np

    tiny = np.finfo(np.float64).eps
    clipped = np.clip(probabilities, tiny, 1 - tiny)
    losses: Floats = -np.where(labels == 1, np.log(clipped), np.log1p(-clipped))
    return losses


def _squares(labels: Floats, probabilities: Floats) -> Floats:
    squares: Floats = (probabilities - labels) ** 2
    return squares


def _hits(labels: Floats, probabilities: Floats) -> Floats:
    hits: Floats = ((probabilities >= THRESHOLD) == (labels == 1)).astype("float64")
    return hits


def _auc_by_day(labels: Floats, probabilities: Floats, codes: Integers, days: int) -> Floats:
    """Return the AUC of each day [days], NaN where it has not both classes (Mann and Whitney)."""
    import numpy as np

    if not len(labels):
        return np.full(days, np.nan)
    order = np.lexsort((probabilities, codes))
    day, score, positive = codes[order], probabilities[order], labels[order] == 1
    changed = (day[1:] != day[:-1]) | (score[1:] != score[:-1])
    starts = np.flatnonzero(np.r_[True, changed])
    ups = np.add.reduceat(positive.astype(np.float64), starts)
    downs = np.add.reduceat((~positive).astype(np.float64), starts)
    of_group = day[starts]
    up_total = np.bincount(of_group, weights=ups, minlength=days)
    down_total = np.bincount(of_group, weights=downs, minlength=days)
    before_day = np.cumsum(down_total) - down_total
    below = np.cumsum(downs) - downs - before_day[of_group] + 0.5 * downs
    won = np.bincount(of_group, weights=ups * below, minlength=days)
    pairs = up_total * down_total
    areas: Floats = np.divide(won, pairs, out=np.full(days, np.nan), where=pairs > 0)
    return areas


def _bins(probabilities: Floats) -> Integers:
    import numpy as np

    edges = np.quantile(probabilities, np.arange(1, BINS) / BINS)
    return np.searchsorted(edges, probabilities, side="right")


METRICS = by_name(
    Metric("log_loss", "log loss", higher_is_better=False, row_loss=_log_losses),
    Metric("brier_score", "Brier score", higher_is_better=False, row_loss=_squares),
    Metric("auc", "AUC", higher_is_better=True, daily=False, whole=auc, resampled=_resampled_auc),
    Metric(
        "within_day_auc",
        "within-day AUC",
        higher_is_better=True,
        needs_days=True,
        by_day=_auc_by_day,
    ),
    Metric("accuracy", "accuracy", higher_is_better=True, row_loss=_hits),
    Metric(
        "calibration_error",
        "calibration error",
        higher_is_better=False,
        daily=False,
        inflated=True,
        whole=calibration_error,
        resampled=_resampled_calibration_error,
    ),
)
