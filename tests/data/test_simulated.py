from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.config import SimulatedSource
from ml_pipeline.data.simulated import PRICE_LIMIT, SECTORS, simulate


def exchange(**values) -> SimulatedSource:
    return SimulatedSource(kind="simulated", **values)


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return simulate(exchange())


def moves(bars: pd.DataFrame) -> pd.Series:
    return bars.groupby("symbol")["close"].pct_change()


def test_a_seed_determines_the_history_and_more_days_extend_it():
    short, again, longer = (simulate(exchange(days=n, symbols=9)) for n in (50, 50, 80))
    assert short.equals(again)
    assert longer.iloc[: len(short)].equals(short)
    assert longer["date"].iloc[-1] > short["date"].iloc[-1]
    assert not simulate(exchange(days=50, symbols=9, seed=8)).equals(short)


def test_a_change_of_regime_widens_the_moves_from_its_day_on_and_nothing_before():
    usual, changed = (
        simulate(exchange(days=400, symbols=20, volatile_from=start)) for start in (None, 301)
    )
    days = usual["date"].unique()
    calm = usual["date"] < days[300]
    assert changed[calm].equals(usual[calm])
    for width in (lambda bars: moves(bars).abs(), lambda bars: bars["high"] / bars["low"] - 1):
        assert 1.8 < width(changed)[~calm].median() / width(usual)[~calm].median() < 2.1


def test_the_longest_history_lies_in_the_past():
    assert simulate(exchange(days=3400, symbols=1))["date"].max() < "2026-01-01"


def test_trading_days_are_sunday_to_thursday_with_holidays(bars):
    days = pd.to_datetime(bars["date"].unique())
    assert set(days.day_of_week) == {6, 0, 1, 2, 3}
    assert 0.01 < 1 - len(days) / len(pd.bdate_range(days[0], days[-1])) < 0.06


def test_moves_stay_within_the_price_limit_except_for_bonus_issues(bars):
    wide = bars.pivot_table("close", "date", "symbol")
    day_by_day = wide.pct_change(fill_method=None).to_numpy()
    beyond = day_by_day[np.abs(day_by_day) > PRICE_LIMIT * 1.01]
    assert 0 < len(beyond) < 0.003 * len(bars)
    assert (beyond < 0).all()


def test_symbols_are_listed_over_time_and_belong_to_sectors(bars):
    first = bars.groupby("symbol")["date"].min()
    assert (first > first.min()).sum() >= 5
    assert set(bars["sector"]) == set(SECTORS)
    assert len(bars[["symbol", "sector"]].drop_duplicates()) == bars["symbol"].nunique()


def test_volume_comes_in_clusters(bars):
    volume = np.log(bars.assign(n=bars["volume"]).pivot_table("n", "date", "symbol"))
    assert volume.apply(lambda one: one.autocorr(1)).median() > 0.5


def test_shocks_move_the_whole_market(bars):
    day = moves(bars).groupby(bars["date"]).mean()
    assert day.abs().max() > 4 * day.std()


def test_data_defects_are_rare(bars):
    outside = (bars["open"] > bars["high"]) | (bars["open"] < bars["low"])
    assert 0 < outside.mean() < 0.005
    assert 0 < (bars["low"] <= 0).mean() < 0.0005
    assert (bars["close"] > 0).all()


@pytest.mark.parametrize(("edge", "low", "high"), [(0.6, 0.1, 0.3), (0.0, -0.02, 0.02)])
def test_the_edge_is_mean_reversion_and_can_be_switched_off(edge, low, high):
    """The planted signal is mostly the negative distance from the ten-day average."""
    bars = simulate(exchange(edge=edge, days=1200))
    wide = bars.pivot_table("close", "date", "symbol")
    back = -(np.log(wide) - np.log(wide).ewm(span=10).mean())
    following = np.log(wide).diff().shift(-1)
    following = following.where(following.abs() < 0.1)
    both = back.rank(axis=1).corrwith(following.rank(axis=1), axis=1).dropna()
    assert low < both.mean() < high
