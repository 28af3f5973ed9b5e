"""What a year may cost, and that it costs the same however often one looks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.statistics import alarm_budget
from scipy import stats


@pytest.mark.parametrize(("per_year", "rate"), [(0, 0.0513), (1, 0.355), (2, 0.818), (1.9, 0.355)])
def test_the_rate_leaves_95_of_100_years_within_the_stated_number(per_year, rate):
    found = alarm_budget.false_alarm_rate(per_year)
    assert found == pytest.approx(rate, rel=2e-3)
    assert stats.poisson.cdf(int(per_year), found) == pytest.approx(0.95)


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf")])
def test_a_rate_needs_a_number_of_alarms(wrong):
    with pytest.raises(ValueError, match="false alarms a year"):
        alarm_budget.false_alarm_rate(wrong)


@pytest.mark.parametrize(
    ("days", "elapsed", "windows"),
    [
        (0, 1, ()),
        (1, 1, (1,)),
        (3, 1, (1, 2)),
        (63, 1, (1, 2, 4, 8, 16, 32)),
        (500, 1, (1, 2, 4, 8, 16, 32, 64)),
        (7, 7, (7,)),
        (70, 7, (7, 14, 28, 56)),
        (5, 7, (5,)),
        (400, 90, (90,)),
    ],
)
def test_windows_double_from_the_days_since_the_last_look(days, elapsed, windows):
    assert alarm_budget.window_days(days, elapsed) == windows


@given(st.lists(st.integers(1, 60), min_size=1, max_size=365))
def test_looking_often_costs_no_more_than_looking_rarely(pauses):
    spent, since_start = 0.0, 0
    for elapsed in pauses:
        since_start += elapsed
        lengths = alarm_budget.window_days(since_start, elapsed)
        spent += len(lengths) * alarm_budget.level(0.2, elapsed_days=elapsed, windows=len(lengths))
    assert spent == pytest.approx(0.2 * since_start / alarm_budget.DAYS_PER_YEAR)


def test_a_level_needs_a_window_and_time_that_goes_on():
    with pytest.raises(ValueError, match="without windows"):
        alarm_budget.level(0.2, elapsed_days=1, windows=0)
    with pytest.raises(ValueError, match="elapsed_days is -1"):
        alarm_budget.level(0.2, elapsed_days=-1, windows=1)


def test_holm_goes_on_to_the_next_smallest_until_one_is_too_large():
    assert alarm_budget.holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]
    assert alarm_budget.holm([0.01, float("nan")], 0.05) == [True, False]
    assert alarm_budget.holm([], 0.05) == []


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0, 1))
def test_holm_rejects_at_least_what_bonferroni_does(p_values, level):
    rejected = alarm_budget.holm(p_values, level)
    assert all(rejected[i] for i, p in enumerate(p_values) if p <= level / len(p_values))
    assert all(p <= level for p, is_rejected in zip(p_values, rejected, strict=True) if is_rejected)
