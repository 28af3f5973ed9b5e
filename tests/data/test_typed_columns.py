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
def test_a_day_is_text_in_iso_form_or_a_date(value, day):
    (read,) = as_dates(pd.Series([value], dtype=object))
    assert read is pd.NaT if day is None else read == pd.Timestamp(day)


def test_datetime_columns_lose_their_zone_but_not_their_time_of_day_silently():
    moments = pd.Series(pd.to_datetime(["2024-01-05 00:00", "2024-01-05 09:00"])).dt.tz_localize(
        "UTC"
    )
    assert as_dates(moments).isna().tolist() == [False, True]


def test_numbers_are_finite_or_missing():
    mixed = pd.Series(["1.5", "x", None, "inf", 2, Decimal("3.25")], dtype=object)
    assert np.array_equal(as_numbers(mixed), [1.5, np.nan, np.nan, np.nan, 2, 3.25], equal_nan=True)
    assert as_numbers(pd.Series([True, False])).tolist() == [1.0, 0.0]
    assert as_numbers(pd.Series(pd.to_datetime(["2024-01-05"]))).isna().all()


def test_text_keeps_missing_values_and_loses_the_point_of_whole_numbers():
    assert as_text(pd.Series([1001.0, None])).fillna("?").tolist() == ["1001", "?"]
    assert as_text(pd.Series([1.5, None])).fillna("?").tolist() == ["1.5", "?"]
    assert as_text(pd.Series(["a", None], dtype=object)).fillna("?").tolist() == ["a", "?"]


def test_a_number_that_no_float32_holds_is_missing():
    found = as_numbers(pd.Series(["3.4e38", "1e39", "-1e39", "inf", "1e400"]))
    assert found.notna().tolist() == [True, False, False, False, False]
