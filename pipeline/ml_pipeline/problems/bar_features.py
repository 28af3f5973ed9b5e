"""The standard features of daily bars: free of scale, computed within one segment or one day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml_pipeline.features import indicators

Values = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bars:
    """The bars of one segment in time order; ``weekday`` is 0 on Monday, ``date`` counts days."""

    open: Values
    high: Values
    low: Values
    close: Values
    volume: Values
    date: Integers
    limit: float
    """Largest credible move of a day as a share; infinite where the exchange has no limit."""

    def __getitem__(self, part: slice) -> Bars:
        return Bars(
            self.open[part],
            self.high[part],
            self.low[part],
            self.close[part],
            self.volume[part],
            self.date[part],
            self.limit,
        )


def _open_gap(bars: Bars) -> Values:
    """Return the open against the last close; an open beyond the daily limit is a defect."""
    previous = np.concatenate(([np.nan], bars.close[:-1]))
    gap = bars.open / previous - 1.0
    return np.where(np.abs(gap) <= bars.limit, gap, np.nan)


def _gap_days(bars: Bars) -> Values:
    return np.concatenate(([np.nan], np.diff(bars.date).astype(np.float64)))


def _weekday(bars: Bars) -> Values:
    thursday = 3  # 1970-01-01, the day that dates count from
    return ((bars.date + thursday) % 7).astype(np.float64)


def _macd(part: int) -> Callable[[Bars], Values]:
    return lambda bars: indicators.macd(bars.close)[part] / bars.close


def _momentum(window: int) -> Callable[[Bars], Values]:
    return lambda bars: indicators.momentum(bars.close, window)


def _average(window: int) -> Callable[[Bars], Values]:
    return lambda bars: indicators.moving_average_ratio(bars.close, window)


SEGMENT: Mapping[str, Callable[[Bars], Values]] = {
    "return_1": _momentum(1),
    "momentum_2": _momentum(2),
    "momentum_5": _momentum(5),
    "momentum_10": _momentum(10),
    "momentum_20": _momentum(20),
    "sma_ratio_5": _average(5),
    "sma_ratio_10": _average(10),
    "sma_ratio_20": _average(20),
    "macd": _macd(0),
    "macd_signal": _macd(1),
    "macd_histogram": _macd(2),
    "bollinger_position_20": lambda bars: indicators.bollinger_position(bars.close, 20),
    "atr_14": lambda bars: indicators.atr(bars.high, bars.low, bars.close, 14) / bars.close,
    "rsi_14": lambda bars: indicators.compute_rsi(bars.close, 14),
    "volatility_20": lambda bars: indicators.volatility(bars.close, 20),
    "volume_z_20": lambda bars: indicators.z_score(np.log1p(bars.volume), 20),
    "range_position_1": lambda bars: indicators.range_position(bars.high, bars.low, bars.close, 1),
    "range_position_20": lambda bars: indicators.range_position(
        bars.high, bars.low, bars.close, 20
    ),
    "open_gap": _open_gap,
    "weekday": _weekday,
    "gap_days": _gap_days,
}
"""Name to formula, on the bars of one segment."""

DAY: tuple[str, ...] = ("market_return", "relative_return", "return_rank")
"""Features of a bar among the day's others, made of ``return_1``."""

STANDARD: tuple[str, ...] = (*SEGMENT, *DAY)


def of_day(returns: Values, days: Integers) -> dict[str, Values]:
    """Return the cross-sectional features, each from values of the same day only.

    Args:
        returns: the one-bar return of each row, NaN where it has none.
        days: number of the day of each row, from 0 without gaps.
    """
    import pandas as pd

    known = np.isfinite(returns)
    counts = np.bincount(days[known], minlength=int(days.max(initial=-1)) + 1)
    sums = np.bincount(days[known], weights=returns[known], minlength=counts.size)
    means = np.full(counts.size, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    market = means[days]
    place = pd.Series(returns).groupby(days).rank(method="average").to_numpy(dtype=np.float64)
    count = counts[days].astype(np.float64)
    rank = np.full(returns.size, np.nan)
    np.divide(place - 0.5, count, out=rank, where=known)
    return {"market_return": market, "relative_return": returns - market, "return_rank": rank}
