"""A frame of daily bars as arrays, cut into segments: standard features, labels and keys of it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ml_pipeline.core.errors import Refused
from ml_pipeline.data.typed_columns import as_dates
from ml_pipeline.features import indicators
from ml_pipeline.problems import bar_features, segments
from ml_pipeline.problems.bar_features import Bars, Integers, Values

if TYPE_CHECKING:
    import pandas as pd

UNGROUPED = "all"
UNKNOWN_GROUP = "unknown"


class BarSeries:
    """The bars of one or many symbols, in the frame's order; what is computed is kept.

    A price that is not above zero and a volume below zero are missing values here, so that rows
    that were never validated do no harm beyond themselves.

    Raises:
        Refused: there is no row, a date or a symbol is missing, or a symbol has two bars of one
            day.
    """

    def __init__(
        self, frame: pd.DataFrame, *, daily_limit: float | None, max_absence: int | None
    ) -> None:
        import pandas as pd

        if frame.empty:
            raise Refused("there are no bars", expected="at least one row")
        self.frame = frame.reset_index(drop=True)
        self.limit = np.inf if daily_limit is None else daily_limit * segments.SLACK
        times = as_dates(self.frame["date"])
        absent = times.isna() | self.frame["symbol"].isna()
        if absent.any():
            raise Refused(
                f"row {int(absent.to_numpy().argmax())} has no date or no symbol",
                expected="a day as YYYY-MM-DD, and a symbol",
                hint="validate-data sets such rows aside",
            )
        self.times = times
        self.symbols = self.frame["symbol"].astype(str)
        self.entity = pd.factorize(self.symbols, sort=True)[0].astype(np.int64)
        self.date: Integers = times.to_numpy().astype("datetime64[D]").astype(np.int64)
        self.day: Integers = np.unique(self.date, return_inverse=True)[1].astype(np.int64)
        self._refuse_two_of_one_day()
        self.close = self._above("close", 0.0)
        self.segments = segments.cut(
            self.entity, self.day, self.close, daily_limit=daily_limit, max_absence=max_absence
        )

    @cached_property
    def standard(self) -> dict[str, Values]:
        """Every standard feature by name, float64, NaN where there is none."""
        order = self.segments.order
        ordered = Bars(
            open=self._above("open", 0.0)[order],
            high=self._above("high", 0.0)[order],
            low=self._above("low", 0.0)[order],
            close=self.close[order],
            volume=self._above("volume", 0.0, itself=True)[order],
            date=self.date[order],
            limit=self.limit,
        )
        columns = {name: np.empty(order.size) for name in bar_features.SEGMENT}
        for part in self.segments.slices():
            bars = ordered[part]
            rows = order[part]
            for name, formula in bar_features.SEGMENT.items():
                columns[name][rows] = formula(bars)
        return columns | bar_features.of_day(columns["return_1"], self.day)

    @cached_property
    def moves(self) -> Values:
        """The one-bar return of each row, NaN where it has none."""
        moves = np.empty(self.segments.order.size)
        for rows in self.rows_of_segments():
            moves[rows] = indicators.momentum(self.close[rows], 1)
        return moves

    @cached_property
    def label(self) -> Values:
        """1 where the segment's next known close is higher, 0 where not, NaN where none is."""
        order = self.segments.order
        known = np.isfinite(self.close[order])
        rows, part = order[known], self.segments.number[known]
        same = part[1:] == part[:-1]
        rises = (self.close[rows[1:]] > self.close[rows[:-1]]).astype(np.float64)
        label = np.full(order.size, np.nan)
        label[rows[:-1]] = np.where(same, rises, np.nan)
        return label

    def keys(self) -> pd.DataFrame:
        """Return time, entity, group and cluster (the day) of each row."""
        import pandas as pd

        group = pd.Series(UNGROUPED, index=self.frame.index, dtype=object)
        if "sector" in self.frame:
            sectors = self.frame["sector"]
            group = sectors.astype(object).where(sectors.notna(), UNKNOWN_GROUP)
        return pd.DataFrame(
            {
                "time": self.times,
                "entity": self.symbols,
                "group": group.astype(str),
                "cluster": self.times,
            }
        )

    def rows_of_segments(self) -> list[Integers]:
        """Return the places of each segment's rows, in time order."""
        return [self.segments.order[part] for part in self.segments.slices()]

    def rows_of_days(self) -> list[Integers]:
        """Return the places of each day's rows, symbols in order."""
        order = np.lexsort((self.entity, self.day)).astype(np.int64)
        starts = np.flatnonzero(np.diff(self.day[order], prepend=-1))
        return np.split(order, starts[1:])

    def _above(self, name: str, least: float, *, itself: bool = False) -> Values:
        values = self.frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        credible = np.isfinite(values) & ((values >= least) if itself else (values > least))
        return np.where(credible, values, np.nan)

    def _refuse_two_of_one_day(self) -> None:
        order = np.lexsort((self.day, self.entity))
        entity, day = self.entity[order], self.day[order]
        same = (entity[1:] == entity[:-1]) & (day[1:] == day[:-1])
        if same.any():
            place = int(order[1:][same].min())
            raise Refused(
                f"{self.symbols[place]} has two bars of {self.times[place]:%Y-%m-%d}",
                expected="one bar for each symbol and day",
                hint="validate-data sets such rows aside",
            )
