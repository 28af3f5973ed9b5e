"""Cuts an entity's bars into segments that nothing may span: no return, indicator or label.

A cut lies where the close moved further than the exchange allows in a day (an unadjusted bonus or
rights issue, not a return), and where the entity was absent for long (not traded or not listed).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

SLACK = 1.05
"""A break is a move beyond ``SLACK * daily_limit``: closer to the limit it is mostly rounding."""


@dataclass(frozen=True)
class Segments:
    """Rows in (entity, time) order, and where each segment starts in that order.

    ``order[k]`` is the place in the frame of the k-th row; segment i is
    ``order[starts[i]:starts[i + 1]]``, with ``starts[-1]`` the number of rows.
    """

    order: Integers
    starts: Integers

    @cached_property
    def number(self) -> Integers:
        """The segment of each row, in (entity, time) order."""
        return np.repeat(np.arange(self.starts.size - 1), np.diff(self.starts))

    def slices(self) -> list[slice]:
        """Return each segment as a slice of the (entity, time) order."""
        pairs = zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        return [slice(start, end) for start, end in pairs]


def cut(
    entities: Integers,
    days: Integers,
    closes: npt.NDArray[np.float64],
    *,
    daily_limit: float | None,
    max_absence: int | None,
) -> Segments:
    """Sort rows by entity and time and cut each entity's series.

    Args:
        entities: code of the entity of each row.
        days: number of the exchange day of each row, counted over all days on which any entity
            has a bar.
        closes: close of each row. One that is missing does not move: the next is compared with
            the last known one.
        daily_limit: largest move of a day as a share, or None for an exchange without a limit.
        max_absence: exchange days without a bar that a segment outlasts, or None for any number.
    """
    order = np.lexsort((days, entities)).astype(np.int64)
    entity, day, close = entities[order], days[order], closes[order]
    size = order.size
    new = np.ones(size, dtype=bool)
    new[1:] = entity[1:] != entity[:-1]
    if max_absence is not None:
        new[1:] |= day[1:] - day[:-1] - 1 > max_absence
    if daily_limit is not None and size:
        previous = _last_known(close, new)
        known = np.isfinite(close) & np.isfinite(previous) & (previous > 0)
        move = np.zeros(size)
        np.divide(close, previous, out=move, where=known)
        new |= known & (np.abs(move - 1.0) > daily_limit * SLACK + 1e-12)
    starts = np.append(np.flatnonzero(new), size).astype(np.int64)
    return Segments(order, starts)


def _last_known(
    close: npt.NDArray[np.float64], new: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return each row's last finite close before it since the last ``new`` row, else NaN."""
    places = np.arange(close.size)
    first = np.maximum.accumulate(np.where(new, places, 0))
    known = np.maximum.accumulate(np.where(np.isfinite(close), places, -1))
    before = np.concatenate(([-1], known[:-1]))
    usable = before >= first
    return np.where(usable & ~new, close[np.maximum(before, 0)], np.nan)
