from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.pandas import column, data_frames, range_indexes
from ml_pipeline.config import DataSection
from ml_pipeline.core.report import Verdict, judge
from ml_pipeline.data.fingerprint import fingerprint
from ml_pipeline.data.rules import DataTest, distribution_tests, frame_tests, row_tests
from ml_pipeline.data.validation import check_frame, in_order, validate

TODAY = date(2024, 3, 1)
BETWEEN = "expect_column_values_to_be_between"


def run(shop, frame, tests=None):
    present = list(frame.columns)
    columns = [col for col in shop.columns() if col.name in present]
    tests = row_tests(shop, DataSection(), present, TODAY) if tests is None else tests
    return validate(frame, columns, tests, entity="shop", time="day")


def failed(checks) -> set[str]:
    return {check.name for check in checks if check.verdict is not Verdict.PASS}


def test_clean_rows_are_typed_and_sorted_by_entity_and_time(shop, sales):
    result = run(shop, sales.iloc[::-1])
    assert judge(result.checks) is Verdict.PASS
    assert result.clean["shop"].tolist() == ["a", "a", "b", "b"]
    assert result.clean["day"].dtype == "datetime64[us]"
    assert result.clean.index.tolist() == [0, 1, 2, 3]
    assert result.quarantine.empty
    assert result.blanked == {}


def test_a_failing_row_is_quarantined_with_its_reasons_and_source_position(shop, sales):
    sales.loc[1, "sales"] = -2
    sales.loc[2, "sales"] = None
    sales.index = [10, 11, 12, 13]
    result = run(shop, sales)
    assert result.quarantine["source_row"].tolist() == [11, 12]
    assert result.quarantine["reasons"].tolist() == ["sales_positive", "sales_present"]
    assert len(result.clean) == 2
    (check,) = (check for check in result.checks if check.name == "sales_positive")
    assert (check.observed, check.verdict) == (1, Verdict.PASS)
    assert "1 of 4 rows (25.00%), the first in row 11, for example -2.0" in check.why


def test_all_reasons_of_a_row_are_listed(shop, sales):
    sales["day"] = sales["day"].astype(object)
    sales.loc[0, ["sales", "day"]] = [-1, "soon"]
    result = run(shop, sales)
    assert result.quarantine["reasons"].tolist() == ["sales_positive; day_readable"]
    assert result.quarantine["day"].tolist() == ["soon"]


def test_a_cell_is_blanked_once_and_only_in_clean_rows(shop, sales):
    sales["visits"] = [200.0, 300.0, 1.0, 2.0]
    sales.loc[1, "sales"] = -1
    again = DataTest("few", BETWEEN, {"column": "visits", "max_value": 50}, "blank", 1, "visits")
    tests = (*row_tests(shop, DataSection(), list(sales.columns), TODAY), again)
    result = run(shop, sales, tests)
    assert result.blanked == {"visits": 1}
    assert result.clean["visits"].isna().sum() == 1
    assert result.quarantine["visits"].tolist() == [300.0]


def test_text_in_a_numeric_column_is_quarantined_or_blanked(shop, sales):
    sales = sales.astype({"sales": object, "visits": object})
    sales.loc[0, "sales"] = "much"
    sales.loc[3, "visits"] = "few"
    result = run(shop, sales)
    assert failed(result.checks) == {"sales_readable", "visits_readable"}  # over 1 %
    assert result.quarantine["reasons"].tolist() == ["sales_readable"]
    assert result.quarantine["sales"].tolist() == ["much"]
    assert result.blanked == {"visits": 1}
    assert result.clean["sales"].dtype == np.float64


def test_a_future_date_never_passes_silently(shop, sales):
    sales.loc[3, "day"] = "2024-03-02"
    result = run(shop, sales)
    assert failed(result.checks) == {"day_not_in_future"}
    assert result.quarantine["reasons"].tolist() == ["day_not_in_future"]


def test_tolerance_is_a_share_of_all_rows_and_exact_at_its_limit(shop, sales):
    frame = pd.concat([sales] * 25, ignore_index=True)
    frame.loc[:6, "sales"] = -1
    for tolerance, passes in ((0.07, True), (0.0699, False), (0.0, False), (1.0, True)):
        args = {"column": "sales", "min_value": 0}
        result = run(shop, frame, [DataTest("it", BETWEEN, args, "quarantine", tolerance)])
        assert (result.checks[0].verdict is Verdict.PASS) is passes
        assert len(result.quarantine) == 7


def test_an_empty_frame_fails_though_great_expectations_would_pass_it(shop, sales):
    result = run(shop, sales.iloc[:0])
    assert judge(result.checks) is Verdict.FAIL
    assert result.checks[0].name == "rows"


def test_an_empty_suite_fails_though_great_expectations_would_pass_it(shop, sales):
    result = run(shop, sales, ())
    assert judge(result.checks) is Verdict.FAIL
    assert len(result.clean) == 4


def test_a_test_that_crashes_is_an_error_and_never_a_pass(shop, sales):
    result = run(
        shop, sales, [DataTest("it", BETWEEN, {"column": "shop", "min_value": 0}, "fail", 1)]
    )
    assert result.checks[0].verdict is Verdict.ERROR
    assert "could not be computed" in result.checks[0].why


def test_an_empty_column_fails_though_every_row_test_passes_it(shop, sales):
    result = run(shop, sales.assign(visits=np.nan))
    assert judge(result.checks) is Verdict.PASS
    tests = frame_tests(shop.columns()[:4], "day", DataSection(), TODAY)
    assert failed(check_frame(result.clean, tests)) == {"visits_not_empty"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"min_rows": 4}, set()),
        ({"min_rows": 5}, {"enough_rows"}),
        ({"max_age_days": 59}, set()),
        ({"max_age_days": 58}, {"fresh"}),
    ],
)
def test_size_and_age_of_the_clean_frame_are_tested(shop, sales, data, expected):
    clean = run(shop, sales).clean
    tests = frame_tests(shop.columns()[:4], "day", DataSection(**data), TODAY)
    assert failed(check_frame(clean, tests)) == expected


def test_a_frame_without_rows_fails_size_and_age(shop, sales):
    clean = run(shop, sales.assign(sales=-1.0)).clean
    assert clean.empty
    tests = frame_tests(shop.columns()[:4], "day", DataSection(max_age_days=9999), TODAY)
    assert {"enough_rows", "fresh"} <= failed(check_frame(clean, tests))


def test_a_shifted_distribution_fails(shop, sales):
    clean = run(shop, sales).clean
    was = {"null_share": 0.0, "mean": 2.5, "std": 1.0}
    for accepted, expected in (
        (was, set()),
        (was | {"mean": 3.6}, {"sales_mean_as_accepted"}),
        (was | {"mean": 3.6, "std": 2.0}, set()),
        (was | {"mean": 2.6, "std": 0.0}, {"sales_mean_as_accepted"}),
    ):
        tests = distribution_tests({"sales": accepted}, DataSection().distribution)
        assert failed(check_frame(clean, tests)) == expected
    gone = distribution_tests({"profit": was}, DataSection().distribution)
    assert failed(check_frame(clean, gone)) == {
        "profit_nulls_as_accepted",
        "profit_mean_as_accepted",
    }
    holes = clean.assign(sales=[1.0, 4.0, np.nan, np.nan])
    nulls = distribution_tests({"sales": was}, DataSection().distribution)
    assert failed(check_frame(holes, nulls)) == {"sales_nulls_as_accepted"}


def test_sorting_without_keys_and_with_equal_keys_ignores_the_order_of_the_source():
    frame = pd.DataFrame(
        {"b": ["x", None, "x", "y"], "a": [2.0, 1.0, np.nan, 2.0], "t": [1, 1, 1, 1]}
    )
    for entity, time in ((None, None), ("b", "t"), (None, "t")):
        first = in_order(frame, entity, time)
        second = in_order(frame.iloc[[3, 1, 0, 2]], entity, time)
        assert first.equals(second)
        assert fingerprint(first) == fingerprint(second)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    frame=data_frames(
        [
            column("shop", elements=st.sampled_from(["a", "b", None]), dtype=object),
            column(
                "day",
                elements=st.sampled_from(["2024-01-01", "2024-01-02", "2030-01-01", "soon", None]),
                dtype=object,
            ),
            column(
                "sales",
                elements=st.sampled_from([1.0, -1.0, 0.0, np.inf, np.nan, None, "7", "much"]),
                dtype=object,
            ),
            column("visits", elements=st.floats(allow_nan=True, allow_infinity=True)),
        ],
        index=range_indexes(min_size=0, max_size=12),
    )
)
def test_every_row_is_clean_or_quarantined(shop, frame):
    result = run(shop, frame)
    assert len(result.clean) + len(result.quarantine) == len(frame)
    assert (result.quarantine["reasons"].str.len() > 0).all()
    assert result.quarantine["source_row"].is_unique
    stayed = frame.drop(index=result.quarantine["source_row"])
    assert sorted(stayed["shop"].fillna("?")) == sorted(result.clean["shop"].fillna("?"))
    cells = stayed["visits"].notna().sum() - result.clean["visits"].notna().sum()
    assert cells == sum(result.blanked.values())
    assert fingerprint(run(shop, frame.iloc[::-1]).clean) == fingerprint(result.clean)
