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


def probability_of_gap(
    gap: float, std_errors: tuple[float, float], degrees: tuple[float, float]
) -> float:
    """Return the one-sided p-value of the gap of two independent means, above 0.

    Welch's test: the degrees of freedom follow Satterthwaite (1946), "An approximate distribution
    of estimates of variance components", Biometrics Bulletin 2.

    Raises:
        ValueError: both standard errors are 0.
    """
    from scipy import stats

    squares = [error**2 for error in std_errors]
    total = sum(squares)
    if total <= 0:
        raise ValueError("neither mean has a variance to test with")
    below = sum(square**2 / number for square, number in zip(squares, degrees, strict=True))
    return float(stats.t.sf(gap / total**0.5, total**2 / below))
