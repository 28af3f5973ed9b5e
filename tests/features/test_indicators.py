"""The indicators agree with TA-Lib, survive gaps and never look ahead."""

from __future__ import annotations

import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.features import indicators

CLOSE_ENOUGH = 1e-9


@pytest.fixture(scope="module")
def bars():
    """Three hundred bars of a random walk: high, low, close."""
    random = np.random.default_rng(5)
    close = 300 * np.exp(np.cumsum(random.normal(0, 0.02, 300)))
    high = close * (1 + random.uniform(0, 0.02, 300))
    low = close * (1 - random.uniform(0, 0.02, 300))
    return high, low, close


class TestComputeRsi:
    PRICES = (100, 101, 102, 101, 100, 99, 98)

    def test_equals_wilders_rsi_on_the_example(self):
        rsi = indicators.compute_rsi(self.PRICES, period=5)
        assert np.isnan(rsi[:5]).all()
        assert rsi[5:] == pytest.approx([40.0, 32.0], abs=CLOSE_ENOUGH)

    def test_the_examples_expectation_matches_no_published_definition(self):
        """41.18 and 33.33 are neither Wilder's nor Cutler's (plain means) nor an EMA's."""
        moves = np.diff(np.array(self.PRICES, dtype=float))
        gains, losses = np.maximum(moves, 0), np.maximum(-moves, 0)
        cutler = 100 * gains[1:].sum() / (gains[1:].sum() + losses[1:].sum())
        up = down = 0.0
        for gain, loss in zip(gains, losses, strict=True):
            up, down = up + (gain - up) / 3, down + (loss - down) / 3
        ema = 100 * up / (up + down)
        wilder = indicators.compute_rsi(self.PRICES, period=5)[-1]
        assert all(abs(value - 33.33) > 1 for value in (wilder, cutler, ema))

    def test_steady_rise_is_100_and_no_move_is_0(self):
        assert indicators.compute_rsi(np.arange(1.0, 30.0), 14)[-1] == 100.0
        assert indicators.compute_rsi(np.full(30, 7.0), 14)[-1] == 0.0

    def test_too_few_prices_are_nan(self):
        assert np.isnan(indicators.compute_rsi([1.0, 2.0, 3.0], 14)).all()

    @pytest.mark.parametrize("period", [1, 0, -3, 2.5, True])
    def test_refuses_an_invalid_period(self, period):
        with pytest.raises(ValueError, match=f"a window of {period!r}; expected a whole number"):
            indicators.compute_rsi([1.0, 2.0], period)

    def test_refuses_two_dimensions(self):
        with pytest.raises(ValueError, match="an array of 2 dimensions"):
            indicators.compute_rsi([[1.0, 2.0]], 2)


def agree(ours, theirs):
    assert np.isfinite(theirs).sum() > 100
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=CLOSE_ENOUGH)


class TestAgreesWithTaLib:
    def test_rsi(self, bars):
        agree(indicators.compute_rsi(bars[2], 14), talib.RSI(bars[2], 14))

    @pytest.mark.parametrize("window", [1, 5, 20])
    def test_momentum(self, bars, window):
        agree(indicators.momentum(bars[2], window), talib.ROCP(bars[2], window))

    @pytest.mark.parametrize("window", [5, 20, 50])
    def test_moving_average_ratio(self, bars, window):
        _, _, close = bars
        agree(indicators.moving_average_ratio(close, window), close / talib.SMA(close, window) - 1)

    def test_macd(self, bars):
        for ours, theirs in zip(indicators.macd(bars[2]), talib.MACD(bars[2]), strict=True):
            agree(ours, theirs)

    def test_bollinger(self, bars):
        _, _, close = bars
        upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
        for ours, theirs in zip(
            indicators.bollinger_bands(close, 20, 2.0), (upper, middle, lower), strict=True
        ):
            agree(ours, theirs)
        agree(indicators.bollinger_position(close, 20), (close - lower) / (upper - lower))

    def test_atr(self, bars):
        agree(indicators.atr(*bars, 14), talib.ATR(*bars, 14))

    def test_volatility(self, bars):
        returns = talib.ROCP(bars[2], 1)
        agree(indicators.volatility(bars[2], 20), talib.STDDEV(returns, 20))

    def test_z_score(self, bars):
        _, _, close = bars
        mean, deviation = talib.SMA(close, 20), talib.STDDEV(close, 20)
        agree(indicators.z_score(close, 20), (close - mean) / deviation)

    @pytest.mark.parametrize("window", [2, 14, 20])
    def test_range_position(self, bars, window):
        agree(indicators.range_position(*bars, window), 1 + talib.WILLR(*bars, window) / 100)


SERIES = {
    "rsi": lambda h, l_, c: indicators.compute_rsi(c, 3),
    "momentum": lambda h, l_, c: indicators.momentum(c, 2),
    "average": lambda h, l_, c: indicators.moving_average_ratio(c, 3),
    "macd": lambda h, l_, c: indicators.macd(c, 2, 4, 2)[2],
    "bollinger": lambda h, l_, c: indicators.bollinger_position(c, 3),
    "atr": lambda h, l_, c: indicators.atr(h, l_, c, 3),
    "volatility": lambda h, l_, c: indicators.volatility(c, 3),
    "z_score": lambda h, l_, c: indicators.z_score(c, 3),
    "range": lambda h, l_, c: indicators.range_position(h, l_, c, 3),
}


@pytest.mark.parametrize("name", SERIES)
class TestEveryIndicator:
    def test_missing_bars_do_not_change_the_other_values(self, name, bars):
        high, low, close = (values[:40].copy() for values in bars)
        whole = SERIES[name](high, low, close)
        gaps = [0, 7, 8, 30]
        wide = [np.insert(values, gaps, np.nan) for values in (high, low, close)]
        result = SERIES[name](*wide)
        missing = np.isnan(wide[2])
        assert np.isnan(result[missing]).all()
        np.testing.assert_array_equal(result[~missing], whole)

    def test_only_missing_values_give_only_nan(self, name):
        nothing = np.full(9, np.nan)
        assert np.isnan(SERIES[name](nothing, nothing, nothing)).all()
        assert SERIES[name]([], [], []).size == 0

    def test_flat_prices_are_never_infinite(self, name):
        flat = np.full(40, 123.4)
        assert not np.isinf(SERIES[name](flat, flat, flat)).any()

    @given(start=st.integers(1, 38), seed=st.integers(0, 1000))
    def test_later_bars_do_not_change_earlier_values(self, name, start, seed):
        random = np.random.default_rng(seed)
        close = 100 + random.normal(0, 1, 40).cumsum()
        other = close.copy()
        other[start:] = random.uniform(50, 150, 40 - start)
        before, after = (SERIES[name](c + 1, c - 1, c)[:start] for c in (close, other))
        assert before.tobytes() == after.tobytes()


class TestFlatWindows:
    def test_position_and_score_are_nan(self):
        flat = np.full(30, 0.1) * 3
        assert np.isnan(indicators.bollinger_position(flat, 5)).all()
        assert np.isnan(indicators.z_score(flat, 5)).all()
        assert np.isnan(indicators.range_position(flat, flat, flat, 5)).all()


def test_series_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="series of 3, 2, 3 values"):
        indicators.atr([1.0, 2.0, 3.0], [1.0, 2.0], [1.0, 2.0, 3.0], 2)


def test_macd_refuses_a_fast_line_that_is_not_faster():
    with pytest.raises(ValueError, match="fast is 26; expected less than slow, 26"):
        indicators.macd([1.0, 2.0], 26, 26)
