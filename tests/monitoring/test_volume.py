"""Volume: the rows of a day beside those of the same weekdays before."""

from __future__ import annotations

from ml_pipeline.monitoring.volume import day_volumes


def test_a_day_with_a_tenth_of_the_usual_rows_is_unlikely_by_chance() -> None:
    rows = {day: 1000 + day for day in range(70)} | {63: 100}
    worst = min(day_volumes(rows, 60, 69), key=lambda each: each.p_value)
    assert (worst.day, worst.rows, round(worst.usual)) == (63, 100, 1028)
    assert worst.p_value < 1e-4


def test_weekends_are_compared_with_weekends() -> None:
    rows = {day: 10 if day % 7 >= 5 else 1000 for day in range(70)}
    assert all(each.p_value == 1.0 for each in day_volumes(rows, 60, 69))


def test_holidays_without_rows_are_neither_judged_nor_compared_with() -> None:
    rows = {day: 1000 for day in range(70) if day not in (21, 35, 63)}
    assert {each.day for each in day_volumes(rows, 60, 69)} == set(range(60, 70)) - {63}
    assert all(each.p_value == 1.0 for each in day_volumes(rows, 60, 69))


def test_a_day_with_fewer_than_four_earlier_weeks_is_not_judged() -> None:
    assert day_volumes(dict.fromkeys(range(30), 1000), 0, 29) == day_volumes(
        dict.fromkeys(range(30), 1000), 28, 29
    )
