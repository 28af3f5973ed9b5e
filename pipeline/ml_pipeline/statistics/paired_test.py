"""Tests the mean of a series of paired differences with a controlled error rate.

Differences of two models per day are correlated in time. The variance of their mean is therefore
estimated with the Bartlett kernel of Newey and West (1987), "A simple, positive semi-definite,
heteroskedasticity and autocorrelation consistent covariance matrix", Econometrica 55; the number of
lags follows Newey and West (1994), "Automatic lag selection in covariance matrix estimation",
Review of Economic Studies 61.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DEGREES_PER_STRETCH = 0.7
"""Degrees of freedom for each stretch of lags + 1 days. Student's t then has, to first order, the
critical values of Kiefer and Vogelsang (2005), "A new asymptotic theory for heteroskedasticity-
autocorrelation robust tests", Econometric Theory 21, which allow for the number of lags."""


@dataclass(frozen=True)
class PairedTest:
    """The mean difference and what is known about it; positive means better.

    ``low`` and ``high`` are one-sided bounds, each wrong with probability ``alpha``: together a
    two-sided interval of level ``1 - 2 * alpha``. ``p_value`` is one-sided, for a mean above
    ``null``. ``detectable`` is the distance from ``null`` that the test would find with probability
    ``power``. ``degrees`` are those of Student's t.
    """

    effect: float
    low: float
    high: float
    p_value: float
    std_error: float
    n: int
    lags: int
    degrees: float
    detectable: float
    null: float
    alpha: float
    power: float

    def to_json(self) -> dict[str, float | int]:
        return dict(vars(self))


def paired_difference(
    differences: Floats,
    *,
    null: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
    ordered: bool = True,
) -> PairedTest:
    """Test whether the mean of ``differences`` [n] lies above ``null``.

    The standard error is that of an intercept with a HAC covariance and the small-sample factor
    n / (n - 1). Student's t takes 0.7 n / (lags + 1) degrees of freedom, since n - 1 rejects too
    often in a few months of days.

    Args:
        differences: One value per day in time order, or per cluster where ``ordered`` is false.
        null: The mean under the null hypothesis.
        alpha: Error rate of each bound.
        power: Probability that ``detectable`` refers to.
        ordered: Whether neighbours may be correlated; if not, there are no lags.

    Raises:
        ValueError: fewer than two differences, one that is not finite, or all of them the same
            without being 0, which leaves no variance to test against.
    """
    import numpy as np
    from scipy import stats

    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"{values.size} differences cannot be tested, at least 2 are needed")
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} differences are not finite")
    n = len(values)
    constant = bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))
    if constant and values[0] != 0:
        raise ValueError(f"all {n} differences are {values[0]:g}: no variance to test against")
    lags = 0 if constant or not ordered else _lags(values)
    effect = 0.0 if constant else float(values.mean())
    std_error = 0.0 if constant else _std_error(values, lags)
    degrees = DEGREES_PER_STRETCH * n / (lags + 1) if lags else n - 1.0
    reach = float(stats.t.ppf(1 - alpha, degrees))
    if constant:
        p_value = 0.0 if effect > null else 1.0
    else:
        p_value = float(stats.t.sf((effect - null) / std_error, degrees))
    return PairedTest(
        effect=effect,
        low=effect - reach * std_error,
        high=effect + reach * std_error,
        p_value=p_value,
        std_error=std_error,
        n=n,
        lags=lags,
        degrees=degrees,
        detectable=(reach + float(stats.t.ppf(power, degrees))) * std_error,
        null=null,
        alpha=alpha,
        power=power,
    )


def _lags(values: Floats) -> int:
    """Return the lags of the Bartlett kernel: the rule of 1994, at least 4 (n / 100)^(2/9).

    That floor is the pilot bandwidth of the same paper; without it the estimated number is often 0
    by chance. A quarter of the series is the ceiling.
    """
    n = len(values)
    pilot = int(4 * (n / 100) ** (2 / 9))
    centred = values - values.mean()
    reach = range(min(pilot, n - 1) + 1)
    covariance = [float(centred[lag:] @ centred[: n - lag]) / n for lag in reach]
    s0 = covariance[0] + 2 * sum(covariance[1:])
    s1 = 2 * sum(lag * value for lag, value in enumerate(covariance))
    chosen = int(1.1447 * math.cbrt((s1 / s0) ** 2 * n)) if s0 > 0 else pilot
    return min(max(chosen, pilot), n // 4)


def _std_error(values: Floats, lags: int) -> float:
    import numpy as np
    from statsmodels.regression.linear_model import OLS

    options: dict[str, Any] = {"maxlags": lags, "use_correction": True}
    fit = OLS(values, np.ones(len(values))).fit(cov_type="HAC", cov_kwds=options, use_t=True)
    return float(fit.bse[0])
