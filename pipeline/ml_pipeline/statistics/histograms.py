"""How far the histograms of two samples lie apart, and whether chance explains it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline.statistics.drift_test import test_drift
from ml_pipeline.statistics.feature_reference import FeatureReference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

BINS = 10


@dataclass(frozen=True)
class HistogramComparison:
    """The total variation distance of two histograms, and a p-value for that they are alike.

    The distance, 0 to 1, is the share of one sample that lies in other bins than in the other. It
    is about sqrt(bins (1 / n + 1 / m)) / 2.5 for samples of n and m rows that are alike, so it
    means nothing without the p-value, which ``drift_test.test_drift`` describes.
    """

    distance: float
    p_value: float


def compare_histograms(
    reference: Ints, counts: Floats, *, units: Ints | None = None
) -> HistogramComparison:
    """Compare rows of which only the counts in bins are known with reference rows.

    Neighbouring bins are joined until each holds a tenth of the reference. Those below and above
    all of the reference are joined to one bin each, and to no other.

    Args:
        reference: The bin of each reference row [m], from 0.
        counts: Rows in each bin [k].
        units: The day of each reference row [m]; the counts are those of one day.

    Raises:
        ValueError: there is no row, a count is negative or not finite, or a bin is beyond the last.
    """
    import numpy as np

    bins = np.asarray(reference, dtype=np.int64)
    found = np.asarray(counts, dtype=np.float64)
    if not len(bins) or not np.isfinite(found).all() or (found < 0).any() or not found.sum() > 0:
        raise ValueError("a comparison needs two histograms of counts, none of them empty")
    if bins.min() < 0 or bins.max() >= len(found):
        raise ValueError(f"a reference row in bin {bins.max()} of {len(found)}")
    starts = _joined(np.bincount(bins, minlength=len(found)))
    group = np.searchsorted(starts, np.arange(len(found)), side="right") - 1
    named = np.array([str(number) for number in range(len(starts))], dtype=object)
    rows = FeatureReference.categorical("bin", named[group[bins]], units)
    of_group: Floats = np.zeros(len(starts))
    np.add.at(of_group, group, found)
    window = rows.summarize_counts(named, of_group)
    expected = np.bincount(group[bins], minlength=len(starts)) / len(bins)
    distance = float(np.abs(of_group / of_group.sum() - expected).sum() / 2)
    return HistogramComparison(distance, test_drift(rows, window, level=1.0).p_value)


def quantile_bins(values: Floats, bins: int = BINS) -> Floats:
    """Return upper edges between quantiles of ``values``, for samples that are known row by row.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    import numpy as np

    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise ValueError("bins need a sample of finite numbers")
    quantiles = np.quantile(found, np.linspace(0, 1, bins + 1)[1:], method="inverted_cdf")
    edges: Floats = np.unique([np.nextafter(found.min(), -np.inf), *quantiles])
    return edges


def _joined(expected: Ints) -> Ints:
    """Return the first bin of each group of neighbours with a tenth of what is expected."""
    import numpy as np

    occupied = np.flatnonzero(expected)
    lowest, highest = int(occupied[0]), int(occupied[-1])
    starts, inside = [0] if lowest else [], 0
    for index in range(lowest, highest + 1):
        if not inside:
            starts.append(index)
        inside += int(expected[index])
        if inside * BINS >= expected.sum():
            inside = 0
    if inside and starts[-1] > lowest:
        starts.pop()  # what is left is too little for a group of its own
    if highest + 1 < len(expected):
        starts.append(highest + 1)
    return np.array(starts, dtype=np.int64)
