"""A seeded exchange that resembles a small market; see docs/reference/simulated.md.

Every random quantity has its own generator, drawn day by day, so that more days extend the same
history.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.config import SimulatedSource

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

FIRST_DAY = date(2012, 1, 1)
FRIDAY, SATURDAY = 4, 5
SECTORS = (
    "Banking",
    "Development",
    "Finance",
    "Hydropower",
    "Insurance",
    "Microfinance",
    "Other",
)
PRICE_LIMIT = 0.10
"""Largest move of a day, up or down, as a share of the previous close."""
SIGNAL_STRENGTH = 0.5
"""Daily volatilities that one standard deviation of the signal moves the next return, at edge 1."""
HOLIDAY_SHARE = 0.03
UNCHANGED_SHARE = 0.08
BONUS_SHARE = 0.0015
OPEN_ABOVE_HIGH_SHARE = 0.002
ZERO_LOW_SHARE = 0.00005


@dataclass(frozen=True)
class _Regime:
    """How wide moves are, and what the signal is made of."""

    scale: float
    pull: float
    """Weight of the way back to the average."""
    follow: float
    """Weight of a relative move on unusual volume."""

    def score(self, distance: Floats, unusual: Floats) -> Floats:
        return self.follow * unusual - self.pull * distance


CALM = _Regime(scale=1.0, pull=0.5, follow=0.6)
VOLATILE = _Regime(scale=2.0, pull=0.2, follow=1.2)


@dataclass(frozen=True)
class _Paths:
    """Arrays of shape (days, symbols): traded bars, before the defects of a data feed."""

    traded: Flags
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


def simulate(source: SimulatedSource) -> pd.DataFrame:
    """Return daily bars sorted by date and symbol.

    Columns: date (text, ``%Y-%m-%d``), symbol, sector, open, high, low, close, volume.
    """
    import numpy as np
    import pandas as pd

    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(source.seed).spawn(5)]
    calendar, symbols, market, bars, defects = streams
    days = _trading_days(source.days, calendar)
    paths = _paths(source, symbols, market, bars)
    shape = paths.close.shape
    chance = defects.random((*shape, 2))
    open_ = np.where(
        chance[..., 0] < OPEN_ABOVE_HIGH_SHARE, np.round(paths.high * 1.01, 2), paths.open
    )
    low = np.where(chance[..., 1] < ZERO_LOW_SHARE, 0.0, paths.low)
    day, symbol = np.nonzero(paths.traded)
    names = np.array([f"SIM{number:03d}" for number in range(source.symbols)], dtype=object)
    sectors = np.array(SECTORS, dtype=object)[np.arange(source.symbols) % len(SECTORS)]

    def column(values: Floats) -> Floats:
        return values[day, symbol]

    return pd.DataFrame(
        {
            "date": pd.Series(np.array([d.isoformat() for d in days], dtype=object)[day]),
            "symbol": pd.Series(names[symbol]),
            "sector": pd.Series(sectors[symbol]),
            "open": column(open_),
            "high": column(paths.high),
            "low": column(low),
            "close": column(paths.close),
            "volume": column(paths.volume),
        }
    ).astype({"date": "str", "symbol": "str", "sector": "str", "volume": "int64"})


def _trading_days(count: int, rng: np.random.Generator) -> list[date]:
    """Return the first ``count`` days that are Sunday to Thursday and no holiday."""
    days: list[date] = []
    day = FIRST_DAY
    while len(days) < count:
        if day.weekday() not in (FRIDAY, SATURDAY) and rng.random() >= HOLIDAY_SHARE:
            days.append(day)
        day += timedelta(days=1)
    return days


def _paths(
    source: SimulatedSource,
    symbols: np.random.Generator,
    market: np.random.Generator,
    bars: np.random.Generator,
) -> _Paths:
    """Simulate one day after another, vectorised over the symbols."""
    import numpy as np

    n, days = source.symbols, source.days
    beta = symbols.uniform(0.7, 1.3, n)
    volatility = symbols.uniform(0.012, 0.022, n)
    late = np.floor(symbols.exponential(400, n))
    first = np.where(np.arange(n) % 10 < 7, 0, late)
    activity = symbols.uniform(0.96, 1.0, n)
    base_volume = symbols.normal(9, 1, n)
    log_price = symbols.normal(np.log(400), 0.5, n)

    sector_of = np.arange(n) % len(SECTORS)
    shocks = market.standard_t(4, (days, 1 + len(SECTORS)))
    noise = bars.standard_normal((days, n, 6))
    chance = bars.spawn(1)[0].random((days, n, 3))

    shape = (days, n)
    traded = np.zeros(shape, dtype=bool)
    open_, high, low, close, volume = (np.zeros(shape) for _ in range(5))
    average, usual, lively = log_price.copy(), np.zeros(n), np.zeros(n)
    signal, turbulence, last_shock = np.zeros(n), 1.0, 1.0
    previous = np.round(np.exp(log_price), 2)
    for day in range(days):
        listed, regime = first <= day, _regime(source, day)
        daily = regime.scale * volatility
        turbulence = 0.15 + 0.7 * turbulence + 0.15 * min(last_shock**2 / 2, 9.0)
        last_shock = float(shocks[day, 0])
        market_move = 0.006 * np.sqrt(turbulence) * beta * last_shock
        common = regime.scale * (market_move + 0.004 * shocks[day, 1:][sector_of])
        own = daily * (SIGNAL_STRENGTH * source.edge * signal + noise[day, :, 0])
        move = np.clip(common + own, np.log1p(-PRICE_LIMIT), np.log1p(PRICE_LIMIT))
        move = np.where(chance[day, :, 0] < UNCHANGED_SHARE, 0.0, move)
        bonus = (chance[day, :, 1] < BONUS_SHARE) & (previous > 200)
        ratio = np.where(bonus, 0.25 + 0.5 * chance[day, :, 2], 0.0)
        base = previous / (1 + ratio)
        move = np.where(bonus, move / 10, move)

        traded[day] = listed & (chance[day, :, 2] < activity)
        close[day] = np.where(move == 0, np.round(base, 2), np.round(base * np.exp(move), 2))
        open_[day] = np.round(
            base * np.exp(0.4 * move + regime.scale * 0.003 * noise[day, :, 1]), 2
        )
        top, bottom = np.maximum(open_[day], close[day]), np.minimum(open_[day], close[day])
        high[day] = np.round(top * np.exp(regime.scale * 0.005 * np.abs(noise[day, :, 2])), 2)
        low[day] = np.round(bottom * np.exp(regime.scale * -0.005 * np.abs(noise[day, :, 3])), 2)
        lively = 0.7 * lively + 0.4 * noise[day, :, 4] + 0.3 * (np.abs(move) / daily - 0.8)
        volume[day] = np.ceil(np.exp(base_volume + lively))

        log_price = np.log(close[day])
        average = average - np.log1p(ratio)
        average = average + (log_price - average) * 2 / 11
        surprise = lively - usual
        usual = usual + (lively - usual) * 2 / 21
        relative = (move - _mean(move, listed)) / daily
        score = regime.score((log_price - average) / daily, relative * np.tanh(surprise))
        signal = _standardised(score, listed)
        previous = close[day]
    return _Paths(traded, open_, high, low, close, volume)


def _regime(source: SimulatedSource, day: int) -> _Regime:
    """Return the regime of a day, counted from 0."""
    volatile = source.volatile_from is not None and day + 1 >= source.volatile_from
    return VOLATILE if volatile else CALM


def _mean(values: Floats, where: Flags) -> float:
    return float(values[where].mean()) if where.any() else 0.0


def _standardised(values: Floats, where: Flags) -> Floats:
    """Return the day's z-scores across the listed symbols, clipped at 2.5; 0 without variance."""
    import numpy as np

    spread = float(values[where].std()) if where.any() else 0.0
    if spread == 0:
        return np.zeros_like(values)
    return np.clip((values - _mean(values, where)) / spread, -2.5, 2.5)
