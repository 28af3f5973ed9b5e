"""Percentile intervals by resampling clusters (days), the bootstrap of Efron (1979).

Rows of one day are correlated, so a day is drawn whole, with replacement. A statistic that is a
function of sums over rows is recomputed from sums per cluster, all resamples in one product.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

K = TypeVar("K", bound=Hashable)
Statistic: TypeAlias = "Callable[[Floats], Floats]"
"""From counts [b, clusters] to one value for each of the b resamples."""

CELLS = 4_000_000
"""Weights held in memory at a time: 32 MB."""


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


def cluster_counts(clusters: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield blocks [b, clusters]: how often each cluster was drawn, in each of b resamples."""
    import numpy as np

    generator = np.random.default_rng(seed)
    block = max(1, min(resamples, CELLS // max(clusters, 1)))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(0, clusters, size=(rows, clusters))
        drawn += np.arange(rows)[:, None] * clusters
        counts = np.bincount(drawn.ravel(), minlength=rows * clusters)
        yield counts.reshape(rows, clusters).astype(np.float64)


def percentile_intervals(
    statistics: Mapping[K, Statistic],
    clusters: int,
    *,
    resamples: int,
    seed: int,
    level: float = 0.95,
    inflated: Collection[K] = (),
) -> dict[K, Interval]:
    """Return the percentile interval of each statistic under resampling of clusters.

    All statistics see the same resamples. Those that a statistic does not define (a single class,
    say) are left out of its interval; one that less than half of them define gets none.

    Args:
        statistics: By name, functions of counts [b, clusters] to values [b], NaN where undefined.
        clusters: How many clusters there are.
        resamples: How many samples of clusters are drawn.
        seed: Same seed, same intervals.
        level: Coverage that an interval aims at.
        inflated: Statistics from 0 up to which noise can only add, so that the sample's value is
            too large and that of a resample once more. Their intervals are moved down by twice
            the bootstrap's estimate of that bias (Efron and Tibshirani, "An Introduction to the
            Bootstrap", 1993, chapter 10), and reach to the sample's value at least.

    Raises:
        ValueError: there is no cluster.
    """
    import numpy as np

    if clusters < 1:
        raise ValueError("nothing to resample: there is no cluster")
    drawn: dict[K, list[Floats]] = {name: [] for name in statistics}
    for counts in cluster_counts(clusters, resamples, seed):
        for name, statistic in statistics.items():
            drawn[name].append(statistic(counts))
    intervals = {}
    for name, blocks in drawn.items():
        values = np.concatenate(blocks)
        defined = values[np.isfinite(values)]
        if len(defined) * 2 >= resamples:
            low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
            if name in inflated:
                value = statistics[name](np.ones((1, clusters)))[0]
                shift = 2 * (defined.mean() - value)
                low, high = min(max(low - shift, 0.0), value), max(high - shift, value)
            intervals[name] = Interval(float(low), float(high))
    return intervals


def ratio_of_sums(numerator: Floats, denominator: Floats) -> Statistic:
    """Return sum(numerator) / sum(denominator) over the drawn clusters; both are [clusters]."""
    import numpy as np

    def statistic(counts: Floats) -> Floats:
        below = counts @ denominator
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio: Floats = np.where(below > 0, (counts @ numerator) / below, np.nan)
        return ratio

    return statistic


def weighted_auc(labels: Floats, scores: Floats, clusters: Integers) -> Statistic:
    """Return the AUC of the drawn rows as a function of the counts of their clusters.

    The scores are ranked once. A row counts as often as its cluster was drawn; a tie of a positive
    and a negative counts one half.

    Args:
        labels: 0 or 1 [n].
        scores: Finite [n].
        clusters: The index of each row's cluster [n].
    """
    import numpy as np

    order = np.argsort(scores, kind="stable")
    ranked, positive = scores[order], labels[order] == 1
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    of_row = clusters[order]

    def statistic(counts: Floats) -> Floats:
        result = np.empty(len(counts))
        block = max(1, CELLS // max(len(of_row), 1))
        for start in range(0, len(counts), block):
            weights = counts[start : start + block][:, of_row]
            ups = np.add.reduceat(np.where(positive, weights, 0.0), starts, axis=1)
            downs = np.add.reduceat(np.where(positive, 0.0, weights), starts, axis=1)
            below = np.cumsum(downs, axis=1) - 0.5 * downs
            pairs = ups.sum(axis=1) * downs.sum(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                area = (ups * below).sum(axis=1) / pairs
            result[start : start + block] = np.where(pairs > 0, area, np.nan)
        return result

    return statistic
