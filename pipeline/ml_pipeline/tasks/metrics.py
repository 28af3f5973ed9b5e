"""A metric: its name, its direction, and how it is computed over all rows, by unit and resampled.

``labels`` [n] and ``predictions`` [n] or [n, k] are those of a task; ``day`` is the cluster of each
row [n], whole numbers in time order. docs/reference/metrics.md gives the definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ml_pipeline.core.errors import UsageError, nearest
from ml_pipeline.statistics.resampling import Statistic, ratio_of_sums

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

RowLoss: TypeAlias = "Callable[[Floats, Floats], Floats]"
"""From labels and predictions to one value a row."""
Whole: TypeAlias = "Callable[[Floats, Floats], float]"
"""From labels and predictions to one value."""
ByDay: TypeAlias = "Callable[[Floats, Floats, Integers, int], Floats]"
"""From labels, predictions, day codes and their number to one value a day, NaN where undefined."""
Resampled: TypeAlias = "Callable[[Floats, Floats, Integers, int], Statistic]"
"""From labels, predictions, cluster codes and their number to a function of drawn counts."""


@dataclass(frozen=True)
class Metric:
    """A metric by name, and what may be done with it.

    ``needs_days``: it is defined by days and is undefined without them. ``daily``: it has a value
    for each day, so that two models can be compared on it day by day. ``inflated``: noise can only
    add to it, which its interval allows for. ``model_only``: it measures the model's prediction
    interval, which a baseline does not have.

    A metric that is a mean over rows has a ``row_loss``. Another one has ``whole`` and
    ``resampled``; one that is a mean over days has ``by_day``.
    """

    name: str
    title: str
    higher_is_better: bool
    needs_days: bool = False
    daily: bool = True
    inflated: bool = False
    model_only: bool = False
    row_loss: RowLoss | None = None
    whole: Whole | None = None
    by_day: ByDay | None = None
    resampled: Resampled | None = None

    def value(self, labels: Floats, predictions: Floats, day: Integers) -> float:
        """Return the metric over all rows; NaN where they do not define it."""
        import numpy as np

        if not len(labels):
            return float(np.nan)
        if self.row_loss is not None:
            return float(self.row_loss(labels, predictions).mean())
        if self.by_day is not None:
            values = self.per_day(labels, predictions, day)[1]
            return float(values.mean()) if len(values) else float(np.nan)
        assert self.whole is not None
        return self.whole(labels, predictions)

    def per_day(
        self, labels: Floats, predictions: Floats, day: Integers
    ) -> tuple[Integers, Floats]:
        """Return the days on which the metric is defined, in order, and its value on each.

        A day's value of a metric with a ``row_loss`` is the mean over its rows.

        Raises:
            ValueError: the metric has no value for a single day.
        """
        import numpy as np

        if not self.daily:
            raise ValueError(f"{self.name} has no value for a single day")
        days, codes = np.unique(day, return_inverse=True)
        if self.row_loss is None:
            assert self.by_day is not None
            values = self.by_day(labels, predictions, codes, len(days))
            defined = np.isfinite(values)
            return days[defined], values[defined]
        losses = self.row_loss(labels, predictions)
        sums = np.bincount(codes, weights=losses, minlength=len(days))
        return days, sums / np.bincount(codes, minlength=len(days))

    def unit_sums(
        self, labels: Floats, predictions: Floats, codes: Integers, clusters: int
    ) -> tuple[Floats, Floats]:
        """Return numerator and denominator of the metric by cluster, both [clusters].

        Those of a mean over rows are sums over the cluster's rows and their number; those of a mean
        over days the day's value and 1, and 0 for a day that does not define it.

        Raises:
            ValueError: the metric is no such ratio.
        """
        import numpy as np

        if self.row_loss is not None:
            rows = np.bincount(codes, minlength=clusters).astype(np.float64)
            losses = self.row_loss(labels, predictions)
            return np.bincount(codes, weights=losses, minlength=clusters).astype(np.float64), rows
        if self.by_day is not None:
            values = self.by_day(labels, predictions, codes, clusters)
            return np.nan_to_num(values), np.isfinite(values).astype(np.float64)
        raise ValueError(f"{self.name} is no mean over rows or days")

    def statistic(
        self, labels: Floats, predictions: Floats, codes: Integers, clusters: int
    ) -> Statistic:
        """Return the metric as a function of how often each cluster was drawn.

        ``codes`` are the rows' clusters as 0 .. ``clusters`` - 1. Drawn once each, the clusters
        give the value of :meth:`value`.
        """
        if self.resampled is not None:
            return self.resampled(labels, predictions, codes, clusters)
        return ratio_of_sums(*self.unit_sums(labels, predictions, codes, clusters))


def by_name(*metrics: Metric) -> Mapping[str, Metric]:
    """Return the metrics by name, in their order."""
    return {metric.name: metric for metric in metrics}


def named(metrics: Mapping[str, Metric], name: str, where: str) -> Metric:
    """Return a metric of a task by its name in the configuration.

    Raises:
        UsageError: the task has no metric of that name; the nearest one is named.
    """
    if name not in metrics:
        raise UsageError(f"{where}: unknown metric '{name}'", hint=nearest(name, metrics))
    return metrics[name]
