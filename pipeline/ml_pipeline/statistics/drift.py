"""How far two samples of one number lie apart: no knowledge of models, no test, no verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BINS = 10
SMOOTHING = 0.5
"""Added to each bin's count, so that an empty bin has a logarithm."""


def population_stability_index(expected: Floats, actual: Floats, *, bins: int = BINS) -> float:
    """Return the population stability index of two samples [n] and [m]; 0 where they are alike.

    The sum over bins of (a - e) ln(a / e), a symmetric Kullback-Leibler divergence: Siddiqi (2006),
    Credit Risk Scorecards, chapter on monitoring, where 0.1 to 0.25 is some shift and more than
    0.25 a large one. Without any shift it is about (bins - 1) (1 / n + 1 / m) on average: Yurdakul
    and Naranjo (2020), "Statistical properties of the population stability index", Journal of Risk
    Model Validation 14. The bins are quantiles of ``expected``; what lies beyond its smallest or
    largest value has bins of its own.

    Raises:
        ValueError: a sample is empty or not finite.
    """
    import numpy as np

    first, second = _sample(expected), _sample(actual)
    quantiles = np.quantile(first, np.linspace(0, 1, bins + 1)[1:])
    edges = np.unique([np.nextafter(first.min(), -np.inf), *quantiles])
    one, other = (
        np.bincount(np.searchsorted(edges, sample), minlength=len(edges) + 1)
        for sample in (first, second)
    )
    return _index(one, other)


def stability_of_counts(expected: Floats, actual: Floats, *, bins: int = BINS) -> float:
    """Return the population stability index of two histograms [k] with the same edges.

    For what is only known as counts; see ``population_stability_index``. Neighbouring bins are
    joined until each holds at least ``1 / bins`` of what was expected. Those below and above all
    that was expected are joined to one bin each, and to no other.

    Raises:
        ValueError: the lengths differ, or a histogram is empty, negative or not finite.
    """
    import numpy as np

    first, second = _histogram(expected), _histogram(actual)
    if len(first) != len(second):
        raise ValueError(f"histograms of {len(first)} and {len(second)} bins")
    occupied = np.flatnonzero(first)
    lowest, highest = int(occupied[0]), int(occupied[-1])
    starts, inside = [0] if lowest else [], 0.0
    for index in range(lowest, highest + 1):
        if inside == 0.0:
            starts.append(index)
        inside += first[index]
        if inside >= first.sum() / bins:
            inside = 0.0
    if inside > 0.0 and starts[-1] > lowest:
        starts.pop()  # what is left is too little for a bin of its own
    if highest + 1 < len(first):
        starts.append(highest + 1)
    return _index(np.add.reduceat(first, starts), np.add.reduceat(second, starts))


def _index(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    """Return the index of two lists of counts, each smoothed."""
    import numpy as np

    one, other = (counts + SMOOTHING for counts in (expected, actual))
    e, a = one / one.sum(), other / other.sum()
    return float(((a - e) * np.log(a / e)).sum())


def ks_distance(one: Floats, other: Floats) -> float:
    """Return the largest difference of the two empirical distribution functions, 0 to 1.

    The two-sample statistic of Smirnov (1948), "Table for estimating the goodness of fit of
    empirical distributions", Annals of Mathematical Statistics 19, after Kolmogorov (1933).

    Raises:
        ValueError: a sample is empty or not finite.
    """
    import numpy as np

    first, second = np.sort(_sample(one)), np.sort(_sample(other))
    every = np.concatenate([first, second])
    below = [np.searchsorted(x, every, side="right") / len(x) for x in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def _sample(values: Floats) -> Floats:
    import numpy as np

    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise ValueError("a distance needs two samples of finite numbers, none of them empty")
    return found


def _histogram(counts: Floats) -> Floats:
    import numpy as np

    found = np.asarray(counts, dtype=np.float64)
    if found.ndim != 1 or not np.isfinite(found).all() or (found < 0).any() or not found.sum() > 0:
        raise ValueError("a distance needs two histograms of counts, none of them empty")
    return found
