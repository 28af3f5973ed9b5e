from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.data.typed_columns import as_dates, as_numbers, as_text


@pytest.mark.parametrize(
    ("value", "day"),
    [
        ("2024-02-29", "2024-02-29"),
        ("2023-02-29", None),
        ("2024-1-5", "2024-01-05"),
        ("05.01.2024", None),
        ("2024-01-05 10:00", None),
        (datetime.date(2024, 1, 5), "2024-01-05"),
        (datetime.datetime.fromisoformat("2024-01-05"), "2024-01-05"),
        (datetime.datetime.fromisoformat("2024-01-05 10:00"), None),
        (20240105, None),
        (None, None),
    ],
)
def test_dates_are_iso_text_or_date_values(value, day):
    (read,) = as_dates(pd.Series([value], dtype=object))
    assert read is pd.NaT if day is None else read == pd.Timestamp(day)


def test_datetimes_drop_the_zone_and_are_missing_with_a_time_of_day():
    moments = pd.Series(pd.to_datetime(["2024-01-05 00:00", "2024-01-05 09:00"])).dt.tz_localize(
        "UTC"
    )
    assert as_dates(moments).isna().tolist() == [False, True]


def test_numbers_are_finite_or_missing():
    mixed = pd.Series(["1.5", "x", None, "inf", 2, Decimal("3.25")], dtype=object)
    assert np.array_equal(as_numbers(mixed), [1.5, np.nan, np.nan, np.nan, 2, 3.25], equal_nan=True)
    assert as_numbers(pd.Series([True, False])).tolist() == [1.0, 0.0]
    assert as_numbers(pd.Series(pd.to_datetime(["2024-01-05"]))).isna().all()


def test_text_keeps_missing_values_and_drops_the_decimal_point_of_integers():
    assert as_text(pd.Series([1001.0, None])).fillna("?").tolist() == ["1001", "?"]
    assert as_text(pd.Series([1.5, None])).fillna("?").tolist() == ["1.5", "?"]
    assert as_text(pd.Series(["a", None], dtype=object)).fillna("?").tolist() == ["a", "?"]


def test_a_number_beyond_float32_is_missing():
    result = as_numbers(pd.Series(["3.4e38", "1e39", "-1e39", "inf", "1e400"]))
    assert result.notna().tolist() == [True, False, False, False, False]
