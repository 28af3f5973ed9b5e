"""Small frames of daily bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


def bars(closes, start="2020-01-05", days=None):
    """Return bars by symbol: ``closes[symbol]`` on consecutive days, NaN where it has no bar."""
    frames = []
    for symbol, values in closes.items():
        close = np.asarray(values, dtype=float)
        dates = pd.date_range(start, periods=close.size, freq="D") if days is None else days
        frames.append(
            pd.DataFrame(
                {
                    "date": dates,
                    "symbol": symbol,
                    "open": close,
                    "high": close * 1.01,
                    "low": close * 0.99,
                    "close": close,
                    "volume": np.arange(close.size) * 10.0 + 100,
                }
            ).dropna(subset=["close"])
        )
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="session")
def make_bars():
    return bars


@pytest.fixture(scope="session")
def walk():
    """Four symbols of 60 days that never move by more than 8 per cent."""
    random = np.random.default_rng(3)
    moves = np.clip(random.normal(0, 0.02, (4, 60)), -0.08, 0.08)
    return bars(dict(zip("ABCD", 200 * np.exp(moves.cumsum(axis=1)), strict=True)))
