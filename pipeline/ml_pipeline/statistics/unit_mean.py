"""The mean of a metric over units (days), with an interval that allows for autocorrelation.

The metric is a ratio of sums over units, such as the mean loss of rows, or a mean over days. Its
standard error is that of its linearisation: the influence of each unit is tested as a series of
paired differences is (:mod:`ml_pipeline.statistics.paired_test`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline.statistics.paired_test import paired_difference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class UnitMean:
    """A value with its two-sided interval; ``degrees`` are those of Student's t."""

    value: float
    low: float
    high: float
    std_error: float
    degrees: float
    units: int


def unit_mean(
    sums: Floats, weights: Floats, *, confidence: float = CONFIDENCE, ordered: bool = True
) -> UnitMean:
    """Return sum(sums) / sum(weights) with its interval.

    Args:
        sums: of the metric over each unit [n], in time order where ``ordered``.
        weights: rows of each unit [n], or 1; units of weight 0 are left out.
        confidence: probability that the interval covers the mean.
        ordered: whether neighbouring units may be correlated.

    Raises:
        ValueError: fewer than two units, or units that are all equal, which leave no variance.
    """
    import numpy as np
    from scipy import stats

    known = weights > 0
    below, above = weights[known], sums[known]
    if len(below) < 2:
        raise ValueError(f"{len(below)} units have a value, an interval needs at least 2")
    value = float(above.sum() / below.sum())
    means = above / below
    if np.ptp(means) <= 1e-12 * max(1.0, float(np.abs(means).max())):
        raise ValueError(f"all {len(below)} units have the value {value:g}: no variance to test")
    influence = (above - value * below) / below.mean()
    spread = paired_difference(influence, ordered=ordered)
    reach = float(stats.t.ppf((1 + confidence) / 2, spread.degrees)) * spread.std_error
    return UnitMean(
        value, value - reach, value + reach, spread.std_error, spread.degrees, len(below)
    )


@dataclass(frozen=True)
class ReferenceMean:
    """A mean that a later one is compared with; see :func:`probability_of_gap`."""

    value: float
    std_error: float
    degrees: float
    units: int
    rows: int


def probability_of_gap(
    gap: float, reference: ReferenceMean, *, units: int, rows: int, std_error: float = 0.0
) -> float:
    """Return the one-sided p-value of a later mean that lies ``gap`` beyond a reference.

    If nothing changed, the later mean has the reference's variance. So few units suffice, whose own
    standard error may be small by luck. Of the variance of a unit's mean one part may fall with its
    rows and one not: the standard error is scaled by units and by rows, and the larger one counts,
    which is never too small. The later mean's own is taken where it is larger still.

    Args:
        gap: how far the later mean lies on the side that is tested.
        reference: with Student's t of its degrees of freedom.
        units: of the later mean.
        rows: of the later mean.
        std_error: its own, if it is known.

    Raises:
        ValueError: the reference has no variance, or the later mean no row.
    """
    from scipy import stats

    if reference.std_error <= 0 or min(units, rows) < 1:
        raise ValueError("there is no variance to test with")
    ratio = max(reference.units / units, reference.rows / rows)
    later = max(reference.std_error * ratio**0.5, std_error)
    return float(stats.t.sf(gap / (reference.std_error**2 + later**2) ** 0.5, reference.degrees))
