from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from ml_pipeline.config import DataSection, Distribution, Expectation
from ml_pipeline.core.errors import UsageError
from ml_pipeline.data.rules import DataTest, distribution_tests, frame_tests, row_tests

TODAY = date(2024, 3, 1)
PRESENT = ("shop", "day", "sales", "visits")
IN_SET = "expect_column_values_to_be_in_set"


def rules_of(shop, **data):
    return {test.name: test for test in row_tests(shop, DataSection(**data), PRESENT, TODAY)}


def test_row_tests_are_the_problems_rules_readable_columns_and_no_future_dates(shop):
    result = rules_of(shop)
    assert list(result) == [
        "sales_present",
        "sales_positive",
        "visits_small",
        "day_readable",
        "sales_readable",
        "visits_readable",
        "day_not_in_future",
    ]
    assert result["sales_readable"].severity == "quarantine"
    assert (result["visits_readable"].severity, result["visits_readable"].blank) == (
        "blank",
        "visits",
    )
    assert result["day_not_in_future"].args["latest"] == "2024-03-01"
    assert result["day_not_in_future"].tolerance == 0


def test_a_problem_that_tests_its_dates_is_not_tested_twice(shop):
    own = DataTest("form", "expect_column_values_to_be_iso_date", {"column": "day"})
    result = rules_of(replace(shop, rules=(own,)))
    assert "form" in result
    assert "day_readable" not in result


@pytest.mark.parametrize(
    "args", [{"column": 5}, {"column": ["sales"]}, {"column_list": "sales"}, {"column_list": [5]}]
)
def test_an_argument_that_is_not_a_column_name_is_refused(shop, args):
    with pytest.raises(UsageError, match=r"data\.expectations\.0\.args\.column"):
        rules_of(shop, expectations=(Expectation(expect=IN_SET, args=args),))


def test_a_rule_about_an_absent_optional_column_does_not_apply(shop):
    rule = DataTest("region_known", IN_SET, {"column": "region", "value_set": ["north"]})
    assert "region_known" not in rules_of(replace(shop, rules=(rule,)))


def test_tolerances_are_set_by_name(shop):
    result = rules_of(shop, tolerances={"sales_positive": 0.25, "day_not_in_future": 0.1})
    assert result["sales_positive"].tolerance == 0.25
    assert result["day_not_in_future"].tolerance == 0.1


@pytest.mark.parametrize(
    ("tolerances", "message"),
    [
        ({"sales_positiv": 0.1}, "did you mean 'sales_positive'"),
        ({"sales_positive": 1.5}, "expected a share"),
    ],
)
def test_a_tolerance_of_an_unknown_test_is_refused(shop, tolerances, message):
    with pytest.raises(UsageError, match=message):
        rules_of(shop, tolerances=tolerances)


def test_expectations_of_the_configuration_have_unique_names(shop):
    given = Expectation(expect=IN_SET, args={"column": "shop", "value_set": ["a"]})
    named = given.model_copy(update={"name": "sales_present"})
    result = rules_of(shop, expectations=(given, given, named))
    assert list(result)[-3:] == [f"{IN_SET} (shop)", f"{IN_SET} (shop) #2", "sales_present #2"]


def test_the_blanked_column_is_the_expectations_own_or_configured(shop):
    one = Expectation(expect=IN_SET, args={"column": "visits"}, severity="blank")
    pair = Expectation(
        expect="expect_column_pair_values_a_to_be_at_most_b",
        args={"column_A": "sales", "column_B": "visits"},
        severity="blank",
        blank="visits",
    )
    result = list(rules_of(shop, expectations=(one, pair)).values())
    assert [test.blank for test in result[-2:]] == ["visits", "visits"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"args": {"column": "sale"}}, "column 'sale', .*did you mean 'sales'"),
        ({"args": {"column": "sales"}, "severity": "blank", "blank": "x"}, "column 'x'"),
        ({"args": {"column": "sales"}, "blank": "sales"}, "expected blank"),
        ({"args": {"column_A": "sales", "column_B": "visits"}, "severity": "blank"}, "2 columns"),
    ],
)
def test_an_expectation_that_does_not_match_the_data_is_refused(shop, values, message):
    with pytest.raises(UsageError, match=rf"data\.expectations\.0 .*{message}"):
        rules_of(shop, expectations=(Expectation(expect=IN_SET, **values),))


def test_frame_tests_are_size_empty_columns_and_age_if_configured(shop):
    columns = shop.columns()
    names = [test.name for test in frame_tests(columns, "day", DataSection(), TODAY)]
    assert names[0] == "enough_rows"
    assert "visits_not_empty" in names
    assert "fresh" not in names
    fresh = frame_tests(columns, "day", DataSection(max_age_days=7), TODAY)[-1]
    assert (fresh.name, fresh.args["min_value"]) == ("fresh", "2024-02-23T00:00:00")


def test_distribution_tests_are_bounds_around_the_accepted_profile():
    accepted = {"x": {"null_share": 0.1, "mean": 10.0, "std": 2.0}}
    nulls, mean = distribution_tests(accepted, Distribution(null_share=0.05, mean_shift=0.5))
    assert nulls.args["min_value"] == pytest.approx(0.85)
    assert mean.args["min_value"] == pytest.approx(9)
    assert mean.args["max_value"] == pytest.approx(11)
    words = {"s": {"null_share": 0.99, "mean": None, "std": None}}
    (only,) = distribution_tests(words, Distribution())
    assert only.args["min_value"] == 0
