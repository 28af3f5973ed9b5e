from __future__ import annotations

import numpy as np
import pandas as pd
from ml_pipeline.config import SimulatedSource
from ml_pipeline.data.sampling import sample_newest
from ml_pipeline.data.simulated import simulate


def bars(symbols: int) -> pd.DataFrame:
    return simulate(SimulatedSource(kind="simulated", symbols=symbols, days=120))


def test_the_newest_bars_of_twenty_symbols_are_kept():
    frame = bars(40)
    kept = sample_newest(frame, 500, "symbol", "date")
    assert len(kept) == 500
    assert kept["symbol"].nunique() == 20
    assert kept["date"].max() == frame["date"].max()
    assert kept.index.is_monotonic_increasing
    assert kept.equals(frame.loc[kept.index])
    mine = frame[frame["symbol"].isin(kept["symbol"].unique())]
    left = mine.drop(kept.index)
    assert left["date"].max() <= kept["date"].min()


def test_all_symbols_are_kept_if_there_are_fewer_than_twenty():
    assert sample_newest(bars(5), 60, "symbol", "date")["symbol"].nunique() == 5


def test_the_order_of_the_source_does_not_matter():
    frame = bars(30)
    shuffled = frame.sample(frac=1, random_state=1)
    kept = sample_newest(shuffled, 300, "symbol", "date")
    assert set(kept.index) == set(sample_newest(frame, 300, "symbol", "date").index)


def test_entities_of_one_row_each_fill_the_sample():
    days = pd.date_range("2024-01-01", periods=400).strftime("%Y-%m-%d")
    frame = pd.DataFrame({"id": np.arange(1000), "day": np.sort(np.resize(days, 1000))})
    kept = sample_newest(frame, 300, "id", "day")
    assert kept["id"].tolist() == list(range(700, 1000))


def test_a_symbol_that_stopped_trading_is_left_out():
    frame = bars(30)
    gone = frame["symbol"].unique()[0]
    frame = frame[(frame["symbol"] != gone) | (frame["date"] < "2012-02-01")]
    assert gone not in set(sample_newest(frame, 300, "symbol", "date")["symbol"])


def test_a_table_without_time_is_sampled_by_content_whatever_its_order():
    frame = pd.DataFrame({"a": np.arange(1000), "b": ["x", None] * 500})
    kept = sample_newest(frame, 100)
    assert len(kept) == 100
    assert kept["a"].mean() > 300
    reversed_rows = sample_newest(frame.iloc[::-1], 100)
    assert set(reversed_rows["a"]) == set(kept["a"])


def test_unreadable_dates_count_as_the_oldest_without_entities():
    frame = pd.DataFrame({"day": ["2024-01-01", "x", "2024-01-03", "2024-01-02"]})
    assert sample_newest(frame, 2, None, "day").index.tolist() == [2, 3]
    assert sample_newest(frame, 9, None, "day") is frame
