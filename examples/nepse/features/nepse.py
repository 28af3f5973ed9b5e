"""Features of our own, beside the standard ones that the pipeline computes."""

import numpy as np
import pandas as pd
from ml_pipeline import feature

LARGE = 0.05
"""Half of what the exchange allows a close to move in a day."""


@feature
def bars_since_large_move(bars: pd.DataFrame) -> pd.Series:
    """Number of bars since the last large move of the close; missing where there was none."""
    move = bars["close"].pct_change(fill_method=None)
    bar = pd.Series(np.arange(len(bars), dtype=float), index=bars.index)
    return bar - bar.where(move.abs() >= LARGE).ffill()


@feature(scope="day")
def turnover_share(day: pd.DataFrame) -> pd.Series:
    """Share of the day's turnover that this symbol had, 0 to 1."""
    traded = day["close"] * day["volume"]
    total = traded.sum()
    return traded / total if total > 0 else pd.Series(np.nan, index=day.index)


@feature(scope="day")
def sector_relative_return(day: pd.DataFrame) -> pd.Series:
    """The day's return less the mean return of its sector; of the market where no sector is known.

    ``return_1`` is one of the standard features, which functions of scope ``day`` see.
    """
    sector = day["sector"].fillna("") if "sector" in day else pd.Series("", index=day.index)
    return day["return_1"] - day["return_1"].groupby(sector).transform("mean")
