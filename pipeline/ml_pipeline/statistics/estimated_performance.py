"""What calibrated probabilities say of a classifier's performance before labels are known.

If probabilities are calibrated, the label of a row is drawn from them, so that the distribution of
every metric follows (confidence-based performance estimation; Kivimäki, Białek, Nurminen and
Kuberski (2024), "Confidence-based estimators for predictive performance in model monitoring",
arXiv 2407.08649). That holds under covariate shift, where rows differ from those of training, and
not where the relation of features and label has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

DRAWS = 200
"""Draws of labels for a metric that is no mean over rows."""
DRAWN_ROWS = 10_000
"""Most rows that labels are drawn for; the interval of more rows is scaled from them."""
EXACT_ROWS = 2000
"""Up to so many rows the distribution of a count is computed exactly."""


@dataclass(frozen=True)
class Estimate:
    """An estimated metric: its value, the standard error from unknown labels, and an interval."""

    value: float
    std_error: float
    low: float
    high: float


def row_moments(losses: Floats, probabilities: Floats) -> tuple[Floats, Floats]:
    """Return mean and variance of each row's loss [n] over the labels that it may have.

    Args:
        losses: of each row for each label [n, k].
        probabilities: of the labels [n, k].
    """
    means: Floats = (probabilities * losses).sum(axis=1)
    variances: Floats = (probabilities * (losses - means[:, None]) ** 2).sum(axis=1)
    return means, variances


def estimate_mean(means: Floats, variances: Floats, *, confidence: float) -> Estimate:
    """Return the estimate of a mean loss from its rows' moments [n], by the normal distribution."""
    from scipy import stats

    value = float(means.mean())
    std_error = float(variances.sum() ** 0.5 / len(means))
    reach = float(stats.norm.ppf((1 + confidence) / 2)) * std_error
    return Estimate(value, std_error, value - reach, value + reach)


def estimate_share(probabilities: Floats, *, confidence: float) -> Estimate:
    """Return the estimate of the share of hits, of which each has its own probability [n].

    Their number has a Poisson-binomial distribution: computed exactly up to ``EXACT_ROWS`` rows
    (Hong (2013), "On computing the distribution function for the Poisson binomial distribution",
    Computational Statistics and Data Analysis 59), else by the normal one, corrected for skewness.
    """
    n = len(probabilities)
    value = float(probabilities.mean())
    std_error = float((probabilities * (1 - probabilities)).sum() ** 0.5 / n)
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    quantiles = _exact_quantiles if n <= EXACT_ROWS else _skewed_quantiles
    low, high = (count / n for count in quantiles(probabilities, tails))
    return Estimate(value, std_error, low, high)


def expected_auc_by_day(probabilities: Floats, codes: Integers, days: int) -> Floats:
    """Return the AUC that each day's rows are expected to have [days], NaN where there is no pair.

    The share of ordered pairs (i of class 1, j of class 0) that the scores order rightly, each
    weighted by its probability p_i (1 - p_j); a tie counts one half.
    """
    import numpy as np

    if not len(probabilities):
        return np.full(days, np.nan)
    order = np.lexsort((probabilities, codes))
    day, score = codes[order], probabilities[order]
    changed = (day[1:] != day[:-1]) | (score[1:] != score[:-1])
    starts = np.flatnonzero(np.r_[True, changed])
    ups = np.add.reduceat(score, starts)
    downs = np.add.reduceat(1 - score, starts)
    own = np.add.reduceat(score * (1 - score), starts)
    of_group = day[starts]
    totals = [np.bincount(of_group, weights=part, minlength=days) for part in (ups, downs, own)]
    before_day = np.cumsum(totals[1]) - totals[1]
    below = np.cumsum(downs) - downs - before_day[of_group]
    won = np.bincount(of_group, weights=ups * below + 0.5 * (ups * downs - own), minlength=days)
    pairs = totals[0] * totals[1] - totals[2]
    areas: Floats = np.divide(won, pairs, out=np.full(days, np.nan), where=pairs > 1e-12)
    return areas


def estimate_by_drawing(
    value: Callable[[Floats, Floats, Integers], float],
    probabilities: Floats,
    codes: Integers,
    *,
    confidence: float,
    centre: float | None = None,
    seed: int = 0,
) -> Estimate | None:
    """Return the estimate of any metric by drawing labels; None where hardly a draw defines it.

    Args:
        value: the metric as a function of labels [n], predictions and units [n].
        probabilities: of class 1 [n], or of each class [n, k]; they are the predictions too.
        codes: each row's unit [n].
        confidence: of the interval.
        centre: the expected value, where it is known.
        seed: of the draws.
    """
    import numpy as np
    from scipy import stats

    n = len(probabilities)
    chosen = np.unique(np.linspace(0, n - 1, min(n, DRAWN_ROWS)).astype(np.int64))
    predictions, units = probabilities[chosen], codes[chosen]
    generator = np.random.default_rng(seed)
    edges = np.cumsum(predictions, axis=1)[:, :-1] if predictions.ndim > 1 else None
    found = []
    for _ in range(DRAWS):
        drawn = generator.random(len(chosen))
        labels = drawn < predictions if edges is None else (drawn[:, None] >= edges).sum(axis=1)
        found.append(value(labels.astype(np.float64), predictions, units))
    values = np.array(found)
    values = values[np.isfinite(values)]
    if len(values) * 2 < DRAWS:
        return None
    std_error = float(values.std(ddof=1)) * (len(chosen) / n) ** 0.5
    middle = float(values.mean()) if centre is None else centre
    reach = float(stats.norm.ppf((1 + confidence) / 2)) * std_error
    return Estimate(middle, std_error, middle - reach, middle + reach)


def _exact_quantiles(probabilities: Floats, tails: tuple[float, float]) -> list[int]:
    import numpy as np

    n = len(probabilities)
    characteristic = np.ones(n // 2 + 1, dtype=np.complex128)
    roots = np.exp(-2j * np.pi * np.arange(n // 2 + 1) / (n + 1))
    for probability in probabilities:
        characteristic *= 1 + probability * (roots - 1)
    mass = np.fft.irfft(characteristic, n + 1)
    cumulative = np.cumsum(np.clip(mass, 0.0, None))
    counts = np.searchsorted(cumulative, np.array(tails) - 1e-12)
    return [min(int(count), n) for count in counts]


def _skewed_quantiles(probabilities: Floats, tails: tuple[float, float]) -> list[float]:
    """Return quantiles by the Cornish-Fisher expansion with the third moment."""
    from scipy import stats

    spread = float((probabilities * (1 - probabilities)).sum() ** 0.5)
    third = float((probabilities * (1 - probabilities) * (1 - 2 * probabilities)).sum())
    skewness = third / spread**3 if spread > 0 else 0.0
    normal = [float(stats.norm.ppf(tail)) for tail in tails]
    mean = float(probabilities.sum())
    return [mean + spread * (z + skewness * (z**2 - 1) / 6) for z in normal]
