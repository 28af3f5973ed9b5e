"""How many false alarms a year may have, and what each test may spend of them.

A test that spends ``level`` alarms wrongly with at most that probability, so the expected number
of false alarms of a year is at most the sum over all tests, whether they are independent or not.
What a look may spend is proportional to the days since the last look: alpha spending after Lan and
DeMets (1983), "Discrete sequential boundaries for clinical trials", Biometrika 70, with a linear
spending function over a year.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

DAYS_PER_YEAR = 365.25
CONFIDENCE = 0.95
"""Share of the years without change that have no more than the stated false alarms."""
LONGEST_WINDOW = 64
"""Days of the longest window."""


def false_alarm_rate(per_year: float) -> float:
    """Return the mean number of false alarms a year, so that 95 of 100 years have ``per_year``.

    The largest mean of a Poisson distribution with P(N <= per_year) >= 0.95: 0.0513 for 0, 0.355
    for 1, 0.818 for 2. A fraction counts as the whole number below it, since alarms are counted.

    Raises:
        ValueError: ``per_year`` is negative or not finite.
    """
    from scipy import special

    if not (math.isfinite(per_year) and per_year >= 0):
        raise ValueError(f"{per_year} false alarms a year, expected a number from 0 on")
    return float(special.pdtri(math.floor(per_year), CONFIDENCE))


def window_days(since_start: int, elapsed_days: int = 1) -> tuple[int, ...]:
    """Return the lengths of the windows of a look in days: each twice the one before.

    The shortest has all days since the last look, so that none goes unseen; the longest has at
    most 64, or the shortest's length, and no more than there have been. A look at fewer days than
    the shortest window has one window of all of them.

    Args:
        since_start: Days that there are rows of, the look's included.
        elapsed_days: Days since the last look.
    """
    if since_start < 1:
        return ()
    lengths = [min(max(1, elapsed_days), since_start)]
    while (length := 2 * lengths[-1]) <= min(since_start, LONGEST_WINDOW):
        lengths.append(length)
    return tuple(lengths)


def level(budget: float, *, elapsed_days: float, windows: int) -> float:
    """Return what the tests of one window may spend in one look, over all features together.

    Its sum over the looks of a year and the windows of each is ``budget``, however often one
    looks. ``holm`` shares it among features.

    Args:
        budget: Expected false alarms a year; a share of ``false_alarm_rate``.
        elapsed_days: Days since the last look.
        windows: Number of windows of this look.

    Raises:
        ValueError: an argument is negative or not finite, or there is no window.
    """
    if windows < 1:
        raise ValueError("a look without windows has no level")
    for name, value in (("budget", budget), ("elapsed_days", elapsed_days)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value}, expected a number from 0 on")
    return min(1.0, budget * elapsed_days / DAYS_PER_YEAR / windows)


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Return which hypotheses are rejected, with at most ``level`` for any wrong rejection.

    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6; valid under any dependence. A p-value that is NaN rejects nothing.
    """
    rejected = [False] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda i: (math.isnan(p_values[i]), p_values[i]))
    for rank, index in enumerate(order):
        if not p_values[index] <= level / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected
