"""The custom expectations, run by great_expectations."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest
from ml_pipeline.data.expectation_suite import run_suite
from ml_pipeline.data.rules import DataTest


def missed(frame: pd.DataFrame, expect: str, **args) -> list[int]:
    (result,) = run_suite(frame, [DataTest("it", expect, args)]).values()
    assert result.error == ""
    assert result.success == (result.unexpected == 0)
    assert result.raw.result["unexpected_count"] == result.unexpected == result.missed.sum()
    return result.missed.nonzero()[0].tolist()


DATES = ["2024-01-01", "x", None, "2024-1-5", "2023-02-29", "2024-01-01 ", "20240101", ""]


def test_iso_dates_agree_with_match_strftime_format():
    frame = pd.DataFrame({"d": DATES})
    ours = missed(frame, "expect_column_values_to_be_iso_date", column="d")
    theirs = missed(
        frame,
        "expect_column_values_to_match_strftime_format",
        column="d",
        strftime_format="%Y-%m-%d",
    )
    assert ours == theirs == [1, 4, 5, 6, 7]


def test_iso_dates_accept_columns_that_are_not_text_unlike_match_strftime_format():
    days = pd.DataFrame({"d": pd.to_datetime(["2024-01-01 00:00", "2024-01-01 12:00", None])})
    assert missed(days, "expect_column_values_to_be_iso_date", column="d") == [1]
    theirs = DataTest(
        "theirs",
        "expect_column_values_to_match_strftime_format",
        {"column": "d", "strftime_format": "%Y-%m-%d"},
    )
    assert run_suite(days, [theirs])["theirs"].error


def test_finite_numbers():
    frame = pd.DataFrame({"n": ["1", "1e3", "x", None, "inf", "1,5"]})
    assert missed(frame, "expect_column_values_to_be_finite_numbers", column="n") == [2, 4, 5]


def test_integer_valued():
    frame = pd.DataFrame({"n": [288.0, 0.5, None, -3.0]})
    assert missed(frame, "expect_column_values_to_be_integer_valued", column="n") == [1]


def test_dates_not_after():
    frame = pd.DataFrame({"d": ["2024-01-01", "2024-01-02", "2024-01-03", None]})
    expect = "expect_column_dates_to_be_not_after"
    assert missed(frame, expect, column="d", latest="2024-01-02") == [2]


def test_a_at_most_b():
    frame = pd.DataFrame({"low": [1.0, 2, 3, None, 1], "high": [1.0, 1, 4, 1, None]})
    expect = "expect_column_pair_values_a_to_be_at_most_b"
    assert missed(frame, expect, column_A="low", column_B="high") == [1]


@pytest.mark.parametrize("names", [("column_A", "column_B"), ("entity_column", "time_column")])
def test_times_increase_per_entity(names):
    frame = pd.DataFrame(
        {
            "shop": ["a", "b", "a", "b", "a", None, "a", "a"],
            "day": [
                "2024-01-02",
                "2024-01-01",
                "2024-01-03",
                "2024-01-01",  # again
                None,
                "2023-01-01",
                "2024-01-01",  # back
                "2024-01-02",  # later than the one before it
            ],
        }
    )
    args = dict(zip(names, ("shop", "day"), strict=True))
    assert missed(frame, "expect_times_to_increase_per_entity", **args) == [3, 6]
    counted = frame.assign(day=[2, 1, 3, 1, None, 0, 1, 2])
    assert missed(counted, "expect_times_to_increase_per_entity", **args) == [3, 6]


def test_custom_expectations_work_in_a_plain_context():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations as gx
        from ml_pipeline.data.expectations import ExpectColumnValuesToBeIsoDate

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False, "metric_calculations": False}
        asset = context.data_sources.add_pandas("p").add_dataframe_asset("a")
        batch = asset.add_batch_definition_whole_dataframe("b").get_batch(
            {"dataframe": pd.DataFrame({"d": DATES})}
        )
        result = batch.validate(ExpectColumnValuesToBeIsoDate(column="d", mostly=0.2))
    assert result.success
    assert result.result["unexpected_count"] == 5
