"""Technical indicators: pure functions of past and present bars, on float64 arrays.

Each takes the bars of one unbroken series in time order and returns an array of the same length,
NaN where the window is not full. The value at t depends on bars up to t only. A bar with a missing
value is left out of the series: its own result is NaN, the others are what they would be without
it. (TA-Lib by itself lets one NaN inside a series spoil every later value, or answers 0.)

Formulas and sources: docs/reference/features.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import talib

Values = npt.NDArray[np.float64]

FLAT = 1e-12
"""A spread under this share of the values themselves is rounding, not movement."""


def compute_rsi(prices: npt.ArrayLike, period: int = 14) -> Values:
    """Return Wilder's relative strength index, 0 to 100; the first ``period`` values are NaN.

    The first average gain and loss are plain means of the first ``period`` moves; later ones are
    smoothed by ``(previous * (period - 1) + move) / period`` (Wilder, New Concepts in Technical
    Trading Systems, 1978). As in TA-Lib, prices that never moved have an RSI of 0.

    Raises:
        ValueError: ``prices`` is not one-dimensional, or ``period`` is under 2.
    """
    _check_window(period, least=2)
    return _on_complete(lambda price: talib.RSI(price, period), prices)


def momentum(prices: npt.ArrayLike, window: int) -> Values:
    """Return ``price / price[window bars ago] - 1`` (TA-Lib's ROCP).

    Raises:
        ValueError: ``prices`` is not one-dimensional, or ``window`` is under 1.
    """
    _check_window(window, least=1)

    def change(price: Values) -> Values:
        result = np.full(price.size, np.nan)
        if price.size > window:
            result[window:] = _divide(price[window:], price[:-window]) - 1.0
        return result

    return _on_complete(change, prices)


def moving_average_ratio(prices: npt.ArrayLike, window: int) -> Values:
    """Return ``price / mean of the last window prices - 1``.

    Raises:
        ValueError: ``prices`` is not one-dimensional, or ``window`` is under 2.
    """
    _check_window(window, least=2)
    return _on_complete(lambda price: _divide(price, rolling_mean(price, window)) - 1.0, prices)


def macd(
    prices: npt.ArrayLike, fast: int = 12, slow: int = 26, signal: int = 9
) -> tuple[Values, Values, Values]:
    """Return MACD line, signal line and histogram, in units of the price (TA-Lib's MACD).

    Raises:
        ValueError: ``prices`` is not one-dimensional, or not ``2 <= fast < slow``.
    """
    _check_window(fast, least=2)
    _check_window(signal, least=1)
    if fast >= slow:
        raise ValueError(f"fast is {fast}; expected less than slow, {slow}")
    line = _on_complete(lambda price: talib.MACD(price, fast, slow, signal)[0], prices)
    smoothed = _on_complete(lambda price: talib.MACD(price, fast, slow, signal)[1], prices)
    return line, smoothed, line - smoothed


def bollinger_bands(
    prices: npt.ArrayLike, window: int = 20, width: float = 2.0
) -> tuple[Values, Values, Values]:
    """Return the upper, middle and lower band: mean plus and minus ``width`` deviations.

    Raises:
        ValueError: ``prices`` is not one-dimensional, or ``window`` is under 2.
    """
    _check_window(window, least=2)
    middle = _on_complete(lambda price: rolling_mean(price, window), prices)
    spread = width * _on_complete(lambda price: rolling_deviation(price, window), prices)
    return middle + spread, middle, middle - spread


def bollinger_position(prices: npt.ArrayLike, window: int = 20, width: float = 2.0) -> Values:
    """Return where the price lies between the bands: 0 on the lower, 1 on the upper one.

    NaN where the bands have no width.

    Raises:
        ValueError: ``prices`` is not one-dimensional, or ``window`` is under 2.
    """
    price = _one_dimensional(prices)
    upper, middle, lower = bollinger_bands(price, window, width)
    return _divide_spread(price - lower, upper - lower, middle)


def atr(high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike, period: int = 14) -> Values:
    """Return Wilder's average true range, in units of the price (TA-Lib's ATR).

    Raises:
        ValueError: an array is not one-dimensional, lengths differ, or ``period`` is under 1.
    """
    _check_window(period, least=1)
    return _on_complete(lambda h, l_, c: talib.ATR(h, l_, c, period), high, low, close)


def volatility(prices: npt.ArrayLike, window: int = 20) -> Values:
    """Return the standard deviation (of the population) of the last ``window`` one-bar returns.

    Raises:
        ValueError: ``prices`` is not one-dimensional, or ``window`` is under 2.
    """
    _check_window(window, least=2)

    def deviation(price: Values) -> Values:
        result = np.full(price.size, np.nan)
        if price.size > window:
            result[1:] = rolling_deviation(_divide(price[1:], price[:-1]) - 1.0, window)
        return result

    return _on_complete(deviation, prices)


def z_score(values: npt.ArrayLike, window: int = 20) -> Values:
    """Return how many deviations the value lies from the mean of the last ``window``, itself in.

    NaN where the window's values are all equal.

    Raises:
        ValueError: ``values`` is not one-dimensional, or ``window`` is under 2.
    """
    _check_window(window, least=2)

    def score(value: Values) -> Values:
        mean = rolling_mean(value, window)
        return _divide_spread(value - mean, rolling_deviation(value, window), mean)

    return _on_complete(score, values)


def range_position(
    high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike, window: int = 20
) -> Values:
    """Return where the close lies between the window's lowest low (0) and highest high (1).

    It is ``1 + WILLR / 100`` of TA-Lib; NaN where the range has no width.

    Raises:
        ValueError: an array is not one-dimensional, lengths differ, or ``window`` is under 1.
    """
    _check_window(window, least=1)

    def position(highs: Values, lows: Values, closes: Values) -> Values:
        top, bottom = highs, lows
        if window > 1:
            top, bottom = talib.MAX(highs, window), talib.MIN(lows, window)
        return _divide_spread(closes - bottom, top - bottom, top)

    return _on_complete(position, high, low, close)


def rolling_mean(values: Values, window: int) -> Values:
    """Return the mean of each full window of a series without gaps.

    Every window is summed anew: the result does not depend on what lies before the window, as it
    does with a running sum.
    """
    return _rolled(values, window, lambda windows: windows.mean(axis=1))


def rolling_deviation(values: Values, window: int) -> Values:
    """Return the standard deviation (of the population) of each full window, in two passes."""
    return _rolled(values, window, lambda windows: windows.std(axis=1))


def _rolled(values: Values, window: int, summary: Callable[[Values], Values]) -> Values:
    result = np.full(values.size, np.nan)
    if values.size >= window:
        windows = np.lib.stride_tricks.sliding_window_view(values, window)
        result[window - 1 :] = summary(windows)
    return result


def _on_complete(function: Callable[..., Values], *series: npt.ArrayLike) -> Values:
    """Apply the function to the bars at which every series has a finite value."""
    arrays = [_one_dimensional(values) for values in series]
    if len({array.size for array in arrays}) > 1:
        raise ValueError(f"series of {', '.join(str(array.size) for array in arrays)} values")
    complete = np.logical_and.reduce([np.isfinite(array) for array in arrays])
    if complete.all():
        return np.asarray(function(*arrays), dtype=np.float64)
    result = np.full(complete.size, np.nan)
    if complete.any():
        result[complete] = function(*(np.ascontiguousarray(array[complete]) for array in arrays))
    return result


def _one_dimensional(values: npt.ArrayLike) -> Values:
    array = np.ascontiguousarray(values, dtype=np.float64)
    if np.ndim(values) != 1:
        raise ValueError(f"an array of {np.ndim(values)} dimensions; expected one series")
    return array


def _check_window(window: int, *, least: int) -> None:
    if isinstance(window, bool) or not isinstance(window, int | np.integer) or window < least:
        raise ValueError(f"a window of {window!r}; expected a whole number of at least {least}")


def _divide(numerator: Values, denominator: Values) -> Values:
    """Divide; NaN where the denominator is zero."""
    result = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0.0)
    return result


def _divide_spread(numerator: Values, spread: Values, level: Values) -> Values:
    """Divide by a spread around a level; NaN where the spread is nothing but rounding."""
    result = np.full(np.shape(numerator), np.nan)
    moved = spread > FLAT * np.abs(level)
    np.divide(numerator, spread, out=result, where=moved)
    return result
