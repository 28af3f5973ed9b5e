from __future__ import annotations

import pandas as pd
import pytest
from ml_pipeline.core.errors import UsageError
from ml_pipeline.data.expectation_suite import run_suite
from ml_pipeline.data.rules import DataTest

FRAME = pd.DataFrame({"s": ["a", "a", None, "b"], "x": [1.0, -1.0, None, 3.0]})


def run(expect: str, severity: str = "fail", **args):
    return run_suite(FRAME, [DataTest("it", expect, args, severity)])["it"]


@pytest.mark.parametrize(
    ("expect", "args", "rows"),
    [
        ("expect_column_values_to_not_be_null", {"column": "s"}, [2]),
        ("expect_column_values_to_be_null", {"column": "s"}, [0, 1, 3]),
        ("expect_column_values_to_be_in_set", {"column": "s", "value_set": ["a"]}, [3]),
        ("expect_column_values_to_be_unique", {"column": "s"}, [0, 1]),
        ("expect_column_values_to_be_between", {"column": "x", "min_value": 0}, [1]),
        ("expect_compound_columns_to_be_unique", {"column_list": ["s"] * 2}, [0, 1]),
        (
            "expect_column_values_to_be_between",
            {
                "column": "x",
                "min_value": 2,
                "row_condition": 's == "a"',
                "condition_parser": "pandas",
            },
            [0, 1],
        ),
    ],
)
def test_a_row_expectation_returns_the_rows_that_fail_it(expect, args, rows):
    result = run(expect, **args)
    assert result.error == ""
    assert result.missed.nonzero()[0].tolist() == rows
    assert result.unexpected == len(rows)
    assert not result.success


def test_an_aggregate_expectation_returns_a_value_and_no_rows():
    result = run("expect_column_mean_to_be_between", column="x", min_value=0, max_value=2)
    assert (result.success, result.observed, result.missed) == (True, 1.0, None)


def test_an_expectation_that_cannot_be_computed_fails():
    result = run("expect_column_mean_to_be_between", column="s", min_value=0)
    assert not result.success
    assert "mean" in result.error
    assert result.missed is None


def test_an_expectation_that_cannot_be_computed_does_not_affect_the_others():
    tests = [
        DataTest("bad", "expect_column_values_to_be_between", {"column": "s", "min_value": 0}),
        DataTest("good", "expect_column_values_to_be_between", {"column": "x", "min_value": 0}),
    ]
    found = run_suite(FRAME, tests)
    assert found["bad"].error
    assert found["good"].unexpected == 1


def test_two_tests_may_have_the_same_expectation():
    args = {"column": "x", "min_value": 0}
    tests = [DataTest(name, "expect_column_values_to_be_between", args) for name in "ab"]
    assert [result.unexpected for result in run_suite(FRAME, tests).values()] == [1, 1]


def test_the_list_of_all_unexpected_values_is_not_built():
    frame = pd.DataFrame({"x": range(50_000)})
    args = {"column": "x", "max_value": -1}
    result = run_suite(frame, [DataTest("it", "expect_column_values_to_be_between", args)])["it"]
    assert result.missed.all()
    assert len(result.raw.result["partial_unexpected_list"]) == 3
    assert "unexpected_index_list" not in result.raw.result


@pytest.mark.parametrize(
    ("expect", "severity", "args", "message"),
    [
        (
            "expect_column_values_to_be_in_sett",
            "fail",
            {},
            "did you mean 'expect_column_values_to_be_in_set'",
        ),
        (
            "expect_column_mean_to_be_between",
            "quarantine",
            {"column": "x"},
            "does not test single rows",
        ),
        ("expect_column_values_to_be_in_set", "fail", {"colum": "s"}, "wrong args"),
        ("expect_column_values_to_be_in_set", "fail", {"column": 3}, "column: "),
    ],
)
def test_a_misconfigured_test_is_a_usage_error(expect, severity, args, message):
    with pytest.raises(UsageError, match=message) as caught:
        run(expect, severity, **args)
    assert "data test 'it'" in str(caught.value)


def test_a_run_prints_nothing(capfd):
    run("expect_column_values_to_not_be_null", column="s")
    run("expect_column_mean_to_be_between", column="s", min_value=0)
    assert capfd.readouterr() == ("", "")
