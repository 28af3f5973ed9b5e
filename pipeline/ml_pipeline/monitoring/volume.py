"""Whether as many rows are predicted a day as on the same weekdays before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

WEEK = 7
LEAST_WEEKS, MOST_WEEKS = 4, 12
"""Earlier weeks that a day is compared with: at least, and at most the newest."""
LEAST_SPREAD = 0.25
"""Smallest standard deviation of a day's logarithm: a day with half or twice the rows is usual."""


@dataclass(frozen=True)
class DayVolume:
    """The rows of a day beside those of the same weekday in earlier weeks."""

    day: int
    """Counted since 1970-01-01."""
    rows: int
    usual: float
    """Geometric mean of the earlier weeks."""
    p_value: float
    """Two-sided."""


def day_volumes(rows: Mapping[int, int], first: int, last: int) -> list[DayVolume]:
    """Compare each day from ``first`` to ``last`` with the same weekday of earlier weeks.

    The logarithm of a day's rows is compared with Student's prediction interval (Hahn and Meeker
    1991, "Statistical Intervals", section 4.7). Days with fewer than four earlier weeks are left
    out, and so are days without rows, such as holidays: a silence is judged by its length.

    Args:
        rows: Number of rows by day; a day that is not in it had none.
        first: The first day to compare.
        last: The last one; it must be over.
    """
    from scipy import stats

    began = min(rows, default=last)
    found = []
    for day in range(max(first, began), last + 1):
        weeks = range(day - WEEK, max(began, day - MOST_WEEKS * WEEK) - 1, -WEEK)
        before = [math.log(rows[week]) for week in weeks if rows.get(week)]
        count = rows.get(day, 0)
        if not count or len(before) < LEAST_WEEKS:
            continue
        mean, spread = fmean(before), max(stdev(before), LEAST_SPREAD)
        t = (math.log(count) - mean) / (spread * math.sqrt(1 + 1 / len(before)))
        p_value = float(2 * stats.t.sf(abs(t), len(before) - 1))
        found.append(DayVolume(day, count, math.exp(mean), p_value))
    return found
