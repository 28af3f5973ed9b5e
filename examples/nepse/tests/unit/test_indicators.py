"""The relative strength index against values computed by hand."""

import numpy as np
import pytest
from ml_pipeline import compute_rsi


def test_rsi_is_wilders():
    """Moves: +1 +1 -1 -1 -1 -1, period 5.

    First averages: gain 2/5, loss 3/5, so RSI = 100 * 0.4 / (0.4 + 0.6) = 40.
    Then gain = 0.4 * 4/5 = 0.32 and loss = (0.6 * 4 + 1) / 5 = 0.68, so RSI = 32.
    """
    rsi = compute_rsi([100, 101, 102, 101, 100, 99, 98], period=5)
    assert np.isnan(rsi[:5]).all()
    assert rsi[5:] == pytest.approx([40.0, 32.0])


def test_rsi_of_prices_that_only_rise():
    assert compute_rsi([1.0, 2.0, 3.0, 4.0], period=2)[2:] == pytest.approx([100.0, 100.0])


def test_rsi_needs_more_prices_than_its_period():
    assert np.isnan(compute_rsi([100.0, 101.0], period=5)).all()
