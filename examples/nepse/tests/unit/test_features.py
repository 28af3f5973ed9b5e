"""The project's features on small frames."""

import numpy as np
import pandas as pd
import pytest

from features.nepse import bars_since_large_move, sector_relative_return, turnover_share


class TestBarsSinceLargeMove:
    def test_counts_from_the_last_large_move_up_or_down(self):
        bars = pd.DataFrame({"close": [100.0, 101.0, 107.0, 108.0, 109.0, 103.0, 104.0]})
        counted = bars_since_large_move(bars)
        assert np.isnan(counted[:2]).all()
        assert counted[2:].tolist() == [0, 1, 2, 0, 1]

    def test_does_not_use_later_bars(self):
        bars = pd.DataFrame({"close": [100.0, 110.0, 111.0, 100.0]})
        pd.testing.assert_series_equal(
            bars_since_large_move(bars.head(3)), bars_since_large_move(bars).head(3)
        )


class TestTurnoverShare:
    def test_adds_up_to_one(self):
        day = pd.DataFrame({"close": [10.0, 20.0, 70.0], "volume": [1, 1, 1]})
        assert turnover_share(day).tolist() == pytest.approx([0.1, 0.2, 0.7])

    def test_is_missing_on_a_day_without_trade(self):
        day = pd.DataFrame({"close": [10.0, 20.0], "volume": [0, 0]})
        assert turnover_share(day).isna().all()


class TestSectorRelativeReturn:
    RETURNS = (0.01, 0.03, -0.02)

    def test_is_relative_to_the_sector(self):
        day = pd.DataFrame({"return_1": self.RETURNS, "sector": ["Banking", "Banking", "Hydro"]})
        assert sector_relative_return(day).tolist() == pytest.approx([-0.01, 0.01, 0.0])

    def test_is_relative_to_the_market_where_no_sector_is_known(self):
        day = pd.DataFrame({"return_1": self.RETURNS})
        assert sector_relative_return(day).sum() == pytest.approx(0.0)
