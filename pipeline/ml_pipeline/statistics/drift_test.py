"""Tests whether a feature of served rows is distributed as in the reference rows of the model.

Numbers become bounded scores by their mid-ranks in the reference (Wilcoxon 1945, "Individual
comparisons by ranking methods", Biometrics Bulletin 1; the distance from the middle after Ansari
and Bradley 1960, "Rank-sum tests for dispersions", Annals of Mathematical Statistics 31), so that
heavy tails do no harm; missing values, unseen ones and each category are shares.

Rows are not independent: those of a day share what the day did, days resemble the day before, and
neighbouring rows of a log come from the same client. So a window of n rows counts as a smaller
number of effective rows (Kish 1965, "Survey sampling", chapter 5; Rao and Scott 1992, "A simple
method for the analysis of clustered binary data", Biometrics 48), and so does the reference, whose
sampling error is part of every test.

Effective rows need the correlation of rows within a day. It has an upper confidence bound from the
days of the reference, and one from the days that were served, each from sums of consecutive days
(batch means: Carlstein 1986, "The use of subseries values for estimating the variance of a general
statistic from a stationary sequence", Annals of Statistics 14), so that autocorrelation within a
batch is contained; beyond a batch 0.4 is assumed.
A p-value is the mean of the tail over what the variance may be, given its estimate (Tsui and
Weerahandi 1989, "Generalized p-values in significance testing of hypotheses in the presence of
nuisance parameters", Journal of the American Statistical Association 84; Student's t where all of
the variance is estimated), so that it stays right at one in a million, where the tail at the
estimate is wrong by orders of magnitude. What a day does to spread, tails and shares is skewed,
even if it only moves all values, and counts as such.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline.statistics.feature_reference import BLOCK, FeatureReference, Kind
from ml_pipeline.statistics.unit_summary import UnitSummary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["DriftTest", "FeatureReference", "UnitSummary", "test_drift"]

AUTOCORRELATION = 0.4
"""Of days, and of rows, that is assumed beyond what batches and blocks contain."""
BATCHES = 40
"""A batch has as many days as the window, but never so many that there are fewer batches."""
POWER = 0.8
CHANCES = (0.5, *(10 ** (-half / 2) for half in range(1, 25)))
"""Of a variance being above its bound: the bounds over which a p-value is averaged."""
ESTIMATES = 2
"""The variance has an estimate from the reference and one from what was served; the smaller counts,
so a p-value is doubled."""
LOWER_BOUND = 0.9
"""Confidence of the lower bound of the days' correlation in the reference."""
NEVER_OCCURRED = 0.01
"""Largest correlation within a day that is assumed of what never occurred, as missing values."""
USUAL = 0.05
"""Error rate of the bound of what days contribute to the skewness of a difference."""
KURTOSIS = 12
"""Excess kurtosis of the square of a normal variable."""
MIN_SKEW = 1e-3
"""Below, a distribution counts as normal."""
RARE = 0.1
"""Shares below (or above 1 less this) are tested by a binomial distribution."""


@dataclass(frozen=True)
class DriftTest:
    """What a test found; ``effect`` and ``detectable`` are in the unit of the ``kind``.

    ``kind`` is what differs most: ``location`` and ``spread`` of a number, its ``tail`` (the outer
    2 %), ``missing`` values, ``unseen`` ones (a category that the reference has not, or a number
    far outside its range) or a ``category`` (``label`` names it). ``effect`` is in standard
    deviations of the reference for a location, else a difference of shares (for ``spread`` the
    share outside the middle half of the reference). ``shift`` is the same in the feature's own
    units, of values that are cut where they lie far outside the reference; ``distance`` is
    Wasserstein's first in standard deviations, or the total variation of categories.
    """

    p_value: float
    kind: Kind
    label: str
    effect: float
    shift: float
    distance: float
    detectable: float
    rows: int
    units: int


@dataclass(frozen=True)
class _Sums:
    """Per unit and score: rows and sums [u, s], with the row variance of each score [s]."""

    rows: Floats
    sums: Floats
    variances: Floats


@dataclass(frozen=True)
class _Dispersion:
    """How much batches of units differ, against independent rows: each is [s]."""

    ratio: Floats
    degrees: Floats
    rows: Floats
    """Rows of a batch that a correlation within it multiplies."""
    occurred: NDArray[np.bool_]
    """Whether the score varies; what never occurred, or always, shows nothing of its days."""


def test_drift(
    reference: FeatureReference,
    window: UnitSummary,
    *,
    level: float,
    history: UnitSummary | None = None,  # noqa: PT028 -- it is no test of pytest
) -> DriftTest:
    """Test whether the rows of ``window`` are distributed as those of ``reference``.

    The p-value is that of the most different score, multiplied by the number of scores (Bonferroni)
    and right for autocorrelated units. A window of one unit has no differences between units of its
    own: they are taken from ``history`` or from the units of the reference; the smaller bound
    counts, unless the reference shows more. If the reference has no units, its rows are taken as
    independent, and so are served rows until units of window and history differ by more than
    chance. Effects of days on a mean are taken as normal, or as squares of normal ones.

    Args:
        reference: Of the feature.
        window: Rows to test.
        level: Of this test alone, for ``detectable``.
        history: All summarised rows of the model version; those of the window are left out.
            They tell how much days differ, so that a short window finds smaller shifts.
    """
    import numpy as np
    from scipy import special

    rows, days = window.rows, len(window.units)
    served = _sums_of(reference, window)
    n, m = served.rows.sum(axis=0), reference.totals
    usable = (n > 0) & (m > 0) & (reference.is_share | (reference.variances > 0))
    if not usable.any():
        return DriftTest(1.0, reference.kinds[-1], "", 0.0, 0.0, 0.0, math.inf, rows, days)
    means = served.sums.sum(axis=0) / np.maximum(n, 1)
    mine, theirs, of_days = _inverse_rows(reference, window, served, history)
    tails = _tails(reference, means, mine, theirs, _skew(served, of_days))
    tests = int(usable.sum())
    p_values = np.where(usable, _mean_tail(tails), 1.0)
    size = np.where(usable, _standardised(reference, means, n), -1.0)
    best = int(np.lexsort((-size, p_values))[0])
    kind = reference.kinds[best]
    spread = reference.variances[best]
    if reference.is_share[best]:
        pooled = (means[best] * n[best] + reference.means[best] * m[best]) / (n[best] + m[best])
        spread = max(spread, pooled * (1 - pooled), 1 / (m[best] + 1))
    error = np.sqrt(spread * (mine[:, best] + theirs[:, best]))
    least = _critical(error, level / tests)
    least += float(special.ndtri(POWER) * error[CHANCES.index(0.1)])
    shift = _shift(reference, window)
    difference = float(means[best] - reference.means[best])
    effect = difference
    if kind == "location":
        effect = shift / reference.deviation if reference.deviation else 0.0
        least = least / reference.slope if reference.slope > 0 else math.inf
    elif kind == "spread":
        effect = _outside_middle(reference, window)
        least *= abs(effect / difference) if difference else 1.5
    return DriftTest(
        p_value=float(min(1.0, tests * p_values[best])),
        kind=kind,
        label=reference.labels[best],
        effect=float(effect),
        shift=shift,
        distance=_distance(reference, window),
        detectable=least,
        rows=rows,
        units=days,
    )


test_drift.__test__ = False  # type: ignore[attr-defined]  # or pytest collects it as a test


def _sums_of(reference: FeatureReference, summary: UnitSummary) -> _Sums:
    import numpy as np

    counts = summary.counts.astype(np.float64)
    rows = counts @ reference.counted.T
    sums = counts @ (reference.scores * reference.counted).T
    squares = counts.sum(axis=0) @ (reference.scores**2 * reference.counted).T
    total = np.maximum(rows.sum(axis=0), 1)
    means = sums.sum(axis=0) / total
    return _Sums(rows, sums, np.maximum(squares / total - means**2, 0.0))


def _inverse_rows(
    reference: FeatureReference,
    window: UnitSummary,
    served: _Sums,
    history: UnitSummary | None,
) -> tuple[Floats, Floats, Floats]:
    """Return 1 / effective rows of window and reference [chances, s], as upper bounds.

    The third [s] is the share of days in the variance of a difference, as the bound at ``USUAL``.
    """
    import numpy as np

    wrong = np.append(CHANCES, USUAL)[:, None]
    days = len(window.units)
    n = np.maximum(served.rows.sum(axis=0), 1)
    m = np.maximum(reference.totals, 1) * np.where(reference.by_recurrence, 0.5, 1.0)
    unequal = (served.rows**2).sum(axis=0) / n**2
    sources = [(window, served)]
    if history is not None:
        inside = np.isin(history.units, window.units)
        if not inside.all():
            before = UnitSummary(
                history.units[~inside],
                history.counts[~inside],
                history.moments[~inside],
                history.blocks[:, ~inside],
            )
            sources.append((before, _sums_of(reference, before)))
    design, design_bound = _row_design(sources, wrong)
    known = sum(len(summary.units) for summary, _ in sources)
    batch = _batch(days, known)
    seen = _dispersion([sums for _, sums in sources], batch, reference.is_curved)
    spread = batch * _beyond(days, batch)
    if reference.units is None:
        point = np.clip((seen.ratio - design) / np.maximum(seen.rows, 1), 0.0, 1.0)
        shown = _correlation(seen, design, np.full((1, 1), LOWER_BOUND)) > 0
        alike = np.where(shown, _correlation(seen, design, wrong), point)
        alike = np.where(seen.degrees > 0, alike, 0.0)
        own = np.maximum(design_bound / n, alike * spread * unequal + design / n)
        of_days = np.maximum(own[-1] - design_bound[-1] / n, 0.0) / (own[-1] + 1 / m)
        return own[:-1], np.broadcast_to(1 / m, own[:-1].shape), of_days
    kept = (reference.rows_by_unit**2).sum(axis=0) / m**2
    total = len(reference.units)
    reference_batch = _batch(days, total)
    training = _Sums(reference.rows_by_unit, reference.sums_by_unit, reference.variances)
    trained = _dispersion([training], reference_batch, reference.is_curved)
    trained_spread = reference_batch * _beyond(days, reference_batch)
    first, second = [], []
    for dispersion, by, size, rows_design, confidence in (
        (trained, trained_spread, reference_batch, design_bound, wrong),
        (seen, spread, batch, design, wrong),
        (trained, trained_spread, reference_batch, design, np.full((1, 1), LOWER_BOUND)),
    ):
        within = design if dispersion is seen else np.ones_like(design)
        alike = _correlation(dispersion, within, confidence)
        first.append(alike * by * unequal + rows_design / n)
        second.append(alike * size * _beyond(total, size) * kept + 1 / m)
    mine = np.minimum(first[0], np.maximum(first[1], first[2]))
    theirs = np.minimum(second[0], np.maximum(second[1], second[2]))
    of_days = np.maximum(mine[-1] - design / n, 0.0) / (mine[-1] + theirs[-1])
    return mine[:-1], theirs[:-1], of_days


def _skew(served: _Sums, of_days: Floats) -> Floats:
    """Return the skewness [s] of the difference of a score's means.

    What a day does to a score other than the location is skewed even where the day only moves all
    values: about as the square of a normal variable. So the part of the variance that is due to
    days gets the skewness of a chi-square distribution with as many degrees of freedom as the
    window has effective days.
    """
    import numpy as np

    rows = served.rows
    unequal = (rows**2).sum(axis=0) / np.maximum(rows.sum(axis=0), 1) ** 2
    effective_days = 1 / np.maximum(unequal * _inflation(len(rows)), 1e-300)
    found: Floats = np.sqrt(8 / effective_days) * of_days**1.5
    return found


def _batch(days: int, known: int) -> int:
    """Return the days of a batch: as the window, in at least ``BATCHES`` of those known."""
    return max(1, min(days, known // BATCHES))


def _beyond(days: int, batch: int) -> float:
    """Return the rise of the variance of a mean of ``days`` over that of independent batches."""
    if days <= batch:
        return 1.0
    return _inflation(days) / _inflation(batch)


def _inflation(days: int) -> float:
    """Return the variance of a mean of autocorrelated days, over that of independent ones."""
    rho = AUTOCORRELATION
    lost = 2 * rho * (1 - rho**days) / (days * (1 - rho) ** 2)
    return (1 + rho) / (1 - rho) - lost


def _row_design(sources: list[tuple[UnitSummary, _Sums]], wrong: Floats) -> tuple[Floats, Floats]:
    """Return how many rows count as one, since neighbours are alike: [s], and bounds [chances, s].

    From sums of blocks of consecutive rows within a unit. Where they are too few for a bound, rows
    are taken as autocorrelated by at most 0.4, or by what was seen.
    """
    import numpy as np

    found, degrees, rows, varying = 0.0, 0.0, 0.0, 0.0
    for summary, sums in sources:
        number, total, squares = summary.blocks
        several = number > 1
        found += np.where(several, squares - total**2 / np.maximum(number, 1), 0.0).sum(axis=0)
        degrees += np.where(several, number - 1, 0.0).sum(axis=0)
        varying += sums.variances * sums.rows.sum(axis=0)
        rows += float(summary.counts.sum())
    variance = np.maximum(varying / max(rows, 1.0), 1e-300)
    ratio = np.asarray(found / np.maximum(degrees, 1) / BLOCK / variance * (1 + 1 / BLOCK))
    ratio[np.asarray(varying) <= 0] = 1.0
    design = np.maximum(ratio, 1.0)
    assumed = np.maximum(_inflation(10**6), 1.3 * design)
    bound = np.maximum(ratio * _chi_square_factor(np.asarray(degrees), wrong), 1.0)
    return design, np.where(np.asarray(degrees) > 0, np.minimum(bound, assumed), assumed)


def _dispersion(sources: list[_Sums], batch: int, curved: NDArray[np.bool_]) -> _Dispersion:
    """Return how much batches of consecutive units differ within each source, over independence.

    Scores that are ``curved`` [s] have days that are about squares of normal variables (see
    ``_skew``): their variance is known as well as from a seventh of the batches, if it is all due
    to days (the excess kurtosis is 12 for a day).
    """
    import numpy as np

    scores = sources[0].rows.shape[1]
    squares, freedom, degrees, kept = (np.zeros(scores) for _ in range(4))
    occurred = np.zeros(scores, dtype=bool)
    for source in sources:
        whole = len(source.rows) // batch * batch
        if whole < 2 * batch:
            continue
        rows, sums = (
            table[len(table) - whole :].reshape(-1, batch, scores).sum(axis=1)
            for table in (source.rows, source.sums)
        )
        total = np.maximum(rows.sum(axis=0), 1)
        mean = sums.sum(axis=0) / total
        variance = np.maximum(source.variances, 1e-300)
        off = (sums - mean * rows) ** 2 / np.maximum(rows, 1e-300)
        filled = np.maximum((rows > 0).sum(axis=0) - 1, 0)
        off = np.where(rows > 0, off, 0).sum(axis=0) / variance
        squares += np.where(source.variances > 0, off, filled)
        occurred |= source.variances > 0
        freedom += filled
        uneven = (rows**2).sum(axis=0)
        degrees += np.where(uneven > 0, total**2 / np.maximum(uneven, 1) - 1, 0)
        kept += total - uneven / total
    safe = np.maximum(freedom, 1)
    ratio = squares / safe
    of_days = np.where(curved, np.maximum(1 - 1 / np.maximum(ratio, 1), 0), 0.0)
    return _Dispersion(
        ratio, degrees / (1 + KURTOSIS / 2 / batch * of_days**2), kept / safe, occurred
    )


def _correlation(found: _Dispersion, design: Floats, wrong: Floats) -> Floats:
    """Return the upper bound of the correlation of rows within a batch [chances, s]."""
    import numpy as np

    bound = found.ratio * _chi_square_factor(found.degrees, wrong)
    most = np.where(found.occurred, 1.0, NEVER_OCCURRED)
    alike: Floats = np.clip((bound - design) / np.maximum(found.rows, 1e-300), 0.0, most)
    return np.where((found.degrees > 0) & (found.rows > 0), alike, 1.0)


def _chi_square_factor(degrees: Floats, wrong: Floats) -> Floats:
    """Return the upper bound of a variance over its estimate [chances, s]."""
    import numpy as np
    from scipy import special

    half = np.maximum(degrees, 1e-3) / 2
    quantile = special.gammaincinv(half[None, :], np.broadcast_to(wrong, (len(wrong), len(half))))
    found: Floats = half / np.maximum(quantile, 1e-300)
    return found


def _tails(
    reference: FeatureReference, means: Floats, mine: Floats, theirs: Floats, skew: Floats
) -> Floats:
    """Return two-sided p-values [chances, s].

    Scores lie between 0 and 1, and a mean of such has no heavier tail than a share of the same mean
    (Hoeffding 1963, "Probability inequalities for sums of bounded random variables", Journal of the
    American Statistical Association 58). So each is tested as a share, of as many rows as give that
    share the score's variance: a normal approximation is wrong by orders of magnitude at one in a
    million where a score is skewed, as of a number that is nearly always 0.

    Args:
        reference: Of the feature.
        means: Of the scores in the window [s].
        mine: Inverses of the window's effective rows [chances, s].
        theirs: The same of the reference.
        skew: Of the difference of two means, if more than in the reference [s].
    """
    import numpy as np

    centre, variance = reference.means, reference.variances
    plain = ~reference.is_share & (variance > 0)
    more = np.where(plain, centre * (1 - centre) / np.where(plain, variance, 1.0), 1.0)
    step = np.where(reference.is_share, 0.5, 0.0)
    rises = reference.is_share | (means > centre)
    curved = np.where(reference.is_curved & rises, skew, 0.0)
    found = _share_tails(means, centre, more / mine, more / theirs, step, curved)
    found[:, ~reference.is_share & ~plain] = 1.0
    return found


def _upper_tail(z: Floats, skew: Floats) -> Floats:
    """Return the upper tail at ``z`` of a standardised gamma distribution of this skewness."""
    import numpy as np
    from scipy import special

    shape = 4 / np.maximum(skew, MIN_SKEW) ** 2
    gamma = special.gammaincc(shape, shape + z * np.sqrt(shape))
    return np.where(skew > MIN_SKEW, np.maximum(gamma, special.ndtr(-z)), special.ndtr(-z))


def _share_tails(
    mine: Floats, theirs: Floats, n: Floats, m: Floats, step: Floats, skew: Floats
) -> Floats:
    """Return two-sided p-values for shares [s] of n and m effective rows [chances, s].

    Where the share is rare, of the count given the sum of both, which is binomial if each is
    Poisson (Przyborowski and Wilenski 1940, "Homogeneity of results in testing samples from Poisson
    series", Biometrika 31), else of the signed root of the likelihood ratio, with ``step`` [s]
    taken off the count as a correction for continuity. A share near one half is not skewed by days.
    """
    import numpy as np
    from scipy import special

    pooled = (mine * n + theirs * m) / (n + m)
    turned = pooled > 0.5
    p, r = np.where(turned, 1 - mine, mine), np.where(turned, 1 - theirs, theirs)
    rare = np.where(turned, 1 - pooled, pooled)
    x, y = p * n, r * m
    total, q = x + y, n / (n + m)
    more = p > r
    tail = np.where(
        more,
        special.betainc(np.maximum(x, 1e-9), y + 1, q),
        special.betainc(np.maximum(y, 1e-9), x + 1, 1 - q),
    )
    exact = np.where(total > 0, 2 * tail, 1.0)
    moved = np.where(more, np.maximum(x - step, rare * n), np.minimum(x + step, rare * n))
    one, other = moved / n, (total - moved) / m
    ratio = n * _divergence(one, rare) + m * _divergence(other, rare)
    root = np.sqrt(np.maximum(2 * ratio, 0.0))
    skewed_by = skew * np.where(step == 0, 1.0, np.where(more, 1 - 2 * rare, 0.0))
    error = np.sqrt(np.maximum(rare * (1 - rare), 1e-300) * (1 / n + 1 / m))
    skewed = 2 * np.maximum(
        _upper_tail(np.abs(p - r) / error, skewed_by),
        special.ndtr(-root),
    )
    found = np.where(
        rare <= RARE, np.where(skew > MIN_SKEW, np.maximum(exact, skewed), exact), skewed
    )
    return np.minimum(found, 1.0)


def _divergence(p: Floats, q: Floats) -> Floats:
    """Return the Kullback-Leibler divergence of Bernoulli distributions."""
    from scipy import special

    found: Floats = special.rel_entr(p, q) + special.rel_entr(1 - p, 1 - q)
    return found


def _mean_tail(tails: Floats) -> Floats:
    """Return the p-values [s] of tails [chances, s], each at an upper bound of the variance.

    Between two bounds the tail at the larger one counts, and beyond the last it is 1.
    """
    import numpy as np

    weights = -np.diff(CHANCES, prepend=1.0)
    found: Floats = np.minimum(ESTIMATES * (weights @ tails + CHANCES[-1]), 1.0)
    return found


def _critical(errors: Floats, p_value: float) -> float:
    """Return the difference that has a p-value, with standard errors [chances]."""
    import numpy as np
    from scipy import special

    low, high = 0.0, 40.0 * float(errors[-1])
    for _ in range(40):
        middle = (low + high) / 2
        tails = 2 * special.ndtr(-middle / np.maximum(errors, 1e-300))
        if _mean_tail(tails[:, None])[0] > p_value:
            low = middle
        else:
            high = middle
    return high


def _standardised(reference: FeatureReference, means: Floats, n: Floats) -> Floats:
    """Return the difference of each score [s] in its standard deviations.

    A share has those of both samples together: where the reference has none, it would count as
    larger than any shift of all values.
    """
    import numpy as np

    m = reference.totals
    pooled = (means * n + reference.means * m) / np.maximum(n + m, 1)
    variances = np.where(reference.is_share, pooled * (1 - pooled), reference.variances)
    found: Floats = np.abs(means - reference.means) / np.sqrt(np.maximum(variances, 1e-12))
    return found


def _shift(reference: FeatureReference, window: UnitSummary) -> float:
    present = int(window.counts[:, :-1].sum())
    if not reference.is_numeric or not present:
        return 0.0
    return float(window.moments[:, 0].sum() / present) - reference.mean


def _outside_middle(reference: FeatureReference, window: UnitSummary) -> float:
    """Return by how much more rows lie outside the middle half of the reference, as a share."""
    import numpy as np

    inside = reference.counts[:-1].astype(np.float64)
    rank = (np.cumsum(inside) - inside / 2) / max(inside.sum(), 1.0)
    outer = np.abs(2 * rank - 1) > 0.5
    now, then = (
        float(counts[:-1][outer].sum()) / max(int(counts[:-1].sum()), 1)
        for counts in (window.counts.sum(axis=0), reference.counts)
    )
    return now - then


def _distance(reference: FeatureReference, window: UnitSummary) -> float:
    """Return Wasserstein's first distance in standard deviations, or the total variation."""
    import numpy as np

    seen = slice(None, -1) if reference.is_numeric else slice(None)
    one = window.counts.sum(axis=0)[seen].astype(np.float64)
    other = reference.counts[seen].astype(np.float64)
    if not one.sum() or not other.sum():
        return 0.0
    gap = one / one.sum() - other / other.sum()
    if not reference.is_numeric:
        return float(np.abs(gap).sum() / 2)
    if not reference.deviation:
        return 0.0
    between = np.abs(np.cumsum(gap)[:-1]) @ np.diff(reference.places[:-1])
    return float(max(between, abs(_shift(reference, window)) / reference.deviation))
