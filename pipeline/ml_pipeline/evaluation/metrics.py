"""The metrics of a probability classifier, as functions of labels and probabilities.

``labels`` are 0 or 1 [n], ``probabilities`` those of class 1 [n], ``day`` the cluster of each row
[n], whole numbers in time order. docs/reference/metrics.md gives the definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ml_pipeline.core.errors import UsageError, nearest
from ml_pipeline.statistics.resampling import Statistic, ratio_of_sums, weighted_auc

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

BINS = 10
"""Bins of the calibration error: deciles of the predicted probability."""
THRESHOLD = 0.5
"""A probability at or above it counts as a prediction of class 1."""

RowLoss: TypeAlias = "Callable[[Floats, Floats], Floats]"


@dataclass(frozen=True)
class Metric:
    """A metric by name, and what may be done with it.

    ``needs_days``: it is defined by days and cannot be had without them. ``daily``: it has a value
    for each day, so that two models can be compared on it day by day. ``inflated``: noise can only
    add to it, which its interval allows for.
    """

    name: str
    title: str
    higher_is_better: bool
    needs_days: bool = False
    daily: bool = True
    inflated: bool = False


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("log_loss", "log loss", higher_is_better=False),
        Metric("brier_score", "Brier score", higher_is_better=False),
        Metric("auc", "AUC", higher_is_better=True, daily=False),
        Metric("within_day_auc", "within-day AUC", higher_is_better=True, needs_days=True),
        Metric("accuracy", "accuracy", higher_is_better=True),
        Metric(
            "calibration_error",
            "calibration error",
            higher_is_better=False,
            daily=False,
            inflated=True,
        ),
    )
}


def named(name: str, where: str) -> Metric:
    """Return a metric by its name in the configuration.

    Raises:
        UsageError: there is none of that name; it names the nearest.
    """
    if name not in METRICS:
        raise UsageError(f"{where}: unknown metric '{name}'", hint=nearest(name, METRICS))
    return METRICS[name]


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
    the others are left out (:func:`per_day` tells how many).
    """
    import numpy as np

    values = per_day("within_day_auc", labels, probabilities, day)[1]
    return float(values.mean()) if len(values) else float(np.nan)


def calibration_error(labels: Floats, probabilities: Floats) -> float:
    """Return the expected calibration error over ten bins of equal count.

    The mean, weighted by rows, of |mean probability - share of class 1| per bin; bins are deciles
    of the probabilities, equal probabilities share a bin (Nguyen and O'Connor, 2015).
    """
    import numpy as np

    gaps = np.bincount(_bins(probabilities), weights=probabilities - labels, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels))


def value(name: str, labels: Floats, probabilities: Floats, day: Integers) -> float:
    """Return a metric over all rows; NaN where they do not define it."""
    import numpy as np

    if not len(labels):
        return float(np.nan)
    if name in ROW_LOSSES:
        return float(ROW_LOSSES[name](labels, probabilities).mean())
    if name == "within_day_auc":
        return within_day_auc(labels, probabilities, day)
    return {"auc": auc, "calibration_error": calibration_error}[name](labels, probabilities)


def per_day(
    name: str, labels: Floats, probabilities: Floats, day: Integers
) -> tuple[Integers, Floats]:
    """Return the days on which a metric is defined, in order, and its value on each.

    A day's log loss, Brier score or accuracy is the mean over its rows. Days with one class only
    have no AUC and are not returned.

    Raises:
        ValueError: the metric has no value for a single day.
    """
    import numpy as np

    if not METRICS[name].daily:
        raise ValueError(f"{name} has no value for a single day")
    days, codes = np.unique(day, return_inverse=True)
    if name == "within_day_auc":
        values = _auc_by_day(labels, probabilities, codes, len(days))
        defined = np.isfinite(values)
        return days[defined], values[defined]
    sums = np.bincount(codes, weights=ROW_LOSSES[name](labels, probabilities), minlength=len(days))
    return days, sums / np.bincount(codes, minlength=len(days))


# --- under resampling -----------------------------------------------------------------------


def statistic(
    name: str, labels: Floats, probabilities: Floats, codes: Integers, clusters: int
) -> Statistic:
    """Return a metric as a function of how often each cluster was drawn.

    ``codes`` are the rows' clusters as 0 .. ``clusters`` - 1. Drawn once each, the clusters give
    the value of :func:`value`; the bins of the calibration error are those of the whole sample.
    """
    import numpy as np

    rows = np.bincount(codes, minlength=clusters).astype(np.float64)
    if name in ROW_LOSSES:
        losses = ROW_LOSSES[name](labels, probabilities)
        sums = np.bincount(codes, weights=losses, minlength=clusters).astype(np.float64)
        return ratio_of_sums(sums, rows)
    if name == "within_day_auc":
        areas = _auc_by_day(labels, probabilities, codes, clusters)
        return ratio_of_sums(np.nan_to_num(areas), np.isfinite(areas).astype(np.float64))
    if name == "auc":
        return weighted_auc(labels, probabilities, codes)
    cells = codes * BINS + _bins(probabilities)
    cell_sums = np.bincount(cells, weights=probabilities - labels, minlength=clusters * BINS)
    gaps = cell_sums.reshape(clusters, BINS).astype(np.float64)

    def calibration(counts: Floats) -> Floats:
        error: Floats = np.abs(counts @ gaps).sum(axis=1) / (counts @ rows)
        return error

    return calibration


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


ROW_LOSSES: Mapping[str, RowLoss] = {
    "log_loss": _log_losses,
    "brier_score": _squares,
    "accuracy": _hits,
}


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
