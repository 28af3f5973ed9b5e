"""Rules of thumb and evidently's default rules, from counts of values in place of rows.

Each is the same number as from the rows. ``evidently_reports.py`` compares it with the reports of
evidently itself. Needs numpy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from worlds import VALUES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 10
EMPTY = 0.0001
"""The share of a bin without rows, as is usual: its logarithm must exist."""
PSI_LIMITS = (0.1, 0.25)
EVIDENTLY_LIMIT = 0.1
"""Default of evidently above 1,000 reference rows, for both distances."""
EVIDENTLY_COLUMNS = 0.5
"""Share of drifted columns from which evidently's preset calls the data drifted."""


def psi(reference: Ints, looks: Ints, *, categorical: bool = False) -> Floats:
    """Return the population stability index of each look [looks] with the reference.

    Args:
        reference: Counts [values].
        looks: Counts [looks, values].
        categorical: The bins are the values; else ten with equal shares of the reference.
    """
    if not categorical:
        below = np.cumsum(reference) / reference.sum()
        starts = np.unique(np.searchsorted(below, np.arange(1, BINS) / BINS) + 1)
        starts = np.r_[0, starts[starts < len(reference)]]
        reference = np.add.reduceat(reference, starts)
        looks = np.add.reduceat(looks, starts, axis=1)
    expected, actual = (np.maximum(_shares(counts), EMPTY) for counts in (reference, looks))
    return np.asarray(((actual - expected) * np.log(actual / expected)).sum(axis=-1))


def normed_wasserstein(reference: Ints, looks: Ints) -> Floats:
    """Return the Wasserstein distance of each look in standard deviations of the reference."""
    expected, actual = _shares(reference), _shares(looks)
    mean = expected @ VALUES
    sd = np.sqrt(expected @ (VALUES - mean) ** 2)
    apart = np.abs(np.cumsum(actual - expected, axis=1))[:, :-1]
    return np.asarray(apart @ np.diff(VALUES) / sd)


def jensen_shannon(reference: Ints, looks: Ints) -> Floats:
    """Return the Jensen-Shannon distance of each look, with natural logarithms."""
    expected, actual = np.broadcast_arrays(_shares(reference), _shares(looks))
    middle = (expected + actual) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(p > 0, p * np.log(p / middle), 0.0) for p in (expected, actual)]
    return np.asarray(np.sqrt(np.maximum(sum(terms).sum(axis=-1) / 2, 0.0)))


def evidently(reference: Ints, looks: Ints, *, categorical: bool = False) -> Floats:
    """Return the distance that evidently's default preset compares with ``EVIDENTLY_LIMIT``."""
    return jensen_shannon(reference, looks) if categorical else normed_wasserstein(reference, looks)


def _shares(counts: Ints) -> Floats:
    return np.asarray(counts / counts.sum(axis=-1, keepdims=True))
