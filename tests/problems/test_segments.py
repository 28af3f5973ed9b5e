"""Where an entity's series is cut."""

from __future__ import annotations

import numpy as np
import pytest
from ml_pipeline.problems.segments import cut


def lengths(closes, days=None, entities=None, limit=0.10, absence=10):
    closes = np.asarray(closes, dtype=float)
    days = np.arange(closes.size) if days is None else np.asarray(days)
    entities = np.zeros(closes.size, int) if entities is None else np.asarray(entities)
    segments = cut(entities, days, closes, daily_limit=limit, max_absence=absence)
    return np.diff(segments.starts).tolist()


class TestDailyLimit:
    def test_moves_within_it_are_not_cut(self):
        assert lengths([100, 110, 99, 108.9]) == [4]

    @pytest.mark.parametrize(
        ("next_close", "parts"),
        [(110.4, [3]), (110.5, [3]), (110.51, [1, 2]), (89.5, [3]), (89.49, [1, 2])],
    )
    def test_break_is_drawn_at_one_twentieth_beyond(self, next_close, parts):
        assert lengths([100, next_close, next_close]) == parts

    def test_no_limit_no_cut(self):
        assert lengths([100, 500, 1], limit=None) == [3]

    def test_unknown_close_is_passed_over_to_the_last_known(self):
        assert lengths([100, np.nan, 105]) == [3]
        assert lengths([100, np.nan, 50, 51]) == [2, 2]
        assert lengths([np.nan, 100, 101]) == [3]


class TestAbsence:
    def test_counts_exchange_days_without_a_bar(self):
        assert lengths([100, 100], days=[0, 11]) == [2]
        assert lengths([100, 100], days=[0, 12]) == [1, 1]

    def test_any_absence_and_none(self):
        assert lengths([100, 100], days=[0, 500], absence=None) == [2]
        assert lengths([100, 100, 100], days=[0, 1, 3], absence=0) == [2, 1]


class TestEntities:
    def test_never_share_a_segment(self):
        assert lengths([100, 100, 100], entities=[0, 1, 1], days=[0, 1, 2]) == [1, 2]

    def test_rows_in_any_order_are_put_in_time_order(self):
        segments = cut(
            np.array([1, 0, 1, 0]),
            np.array([1, 1, 0, 0]),
            np.full(4, 100.0),
            daily_limit=0.1,
            max_absence=10,
        )
        assert segments.order.tolist() == [3, 1, 2, 0]
        assert [segments.order[part].tolist() for part in segments.slices()] == [[3, 1], [2, 0]]
        assert segments.number.tolist() == [0, 0, 1, 1]

    def test_unknown_close_of_another_entity_is_no_last_known(self):
        assert lengths([100, np.nan, 50], entities=[0, 1, 1], days=[0, 0, 1]) == [1, 2]


def test_no_rows_no_segments():
    assert lengths([]) == []
