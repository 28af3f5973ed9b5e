"""Parsing by the configured formats, and the settings proposed for other formats."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.config import CsvSource, WrittenForms
from ml_pipeline.data.remedies import date_remedy, number_remedy
from ml_pipeline.data.sources import read_source
from ml_pipeline.data.typed_columns import as_dates, as_numbers
from ml_pipeline.data.written_forms import apply_forms


def forms(values, *, dates=(), **options):
    frame = pd.DataFrame({"x": pd.Series(values, dtype="str")})
    return apply_forms(frame, WrittenForms(**options), {*dates}, {*dates})["x"]


@pytest.mark.parametrize(
    ("options", "written", "value"),
    [
        ({"decimal": ","}, "43,5", 43.5),
        ({"decimal": ","}, "-1,5e3", -1500.0),
        ({"decimal": ",", "thousands": "."}, "1.234.567,5", 1234567.5),
        ({"decimal": ",", "thousands": " "}, "1\u00a0234,5", 1234.5),
        ({"decimal": ",", "thousands": " "}, "1\u202f234", 1234.0),
        ({"thousands": ","}, "1,234,567.25", 1234567.25),
        ({"thousands": ","}, "12,34,567", 1234567.0),
        ({"thousands": "'"}, "1\u2019234.5", 1234.5),
        ({"thousands": ","}, "12", 12.0),
        ({"thousands": ","}, "\u2212 5".replace(" ", ""), -5.0),
    ],
)
def test_numbers_are_parsed_by_decimal_and_thousands(options, written, value):
    assert forms([written, None], **options).fillna(0).tolist() == [value, 0]


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ({"decimal": ","}, "43.5"),
        ({"decimal": ",", "thousands": "."}, "43.5"),
        ({"decimal": ",", "thousands": "."}, "1.23,5"),
        ({"thousands": ","}, "1,2,3"),
        ({"thousands": ","}, "43,5"),
        ({"thousands": ","}, "12 kg"),
    ],
)
def test_a_number_in_another_format_stays_text(options, written):
    column = forms([written, "7"], **options)
    assert column.tolist()[0] == written
    if "," in written or "kg" in written:
        assert as_numbers(column).tolist() == pytest.approx([np.nan, 7], nan_ok=True)


@pytest.mark.parametrize(
    ("form", "written", "day"),
    [
        ("%d.%m.%Y", "05.01.2024", "2024-01-05"),
        ("%d/%m/%Y", "1/2/2024", "2024-02-01"),
        ("%Y%m%d", "20240105", "2024-01-05"),
        ("%Y%m%d", "20240105.0", "2024-01-05"),
        ("excel", "45296", "2024-01-05"),
        ("excel", "45296.75", "2024-01-05"),
        ("excel", "1", "1899-12-31"),
        ("unix", "1704412800", "2024-01-05"),
        ("unix_ms", "1704412800000", "2024-01-05"),
        ("%Y-%m-%dT%H:%M:%S%z", "2024-01-05T23:30:00+05:45", "2024-01-05"),
        ("%d %b %Y", " 5 Jan 2024 ", "2024-01-05"),
        ("%d.%m.%Y", "2024/01/05", None),
        ("excel", "-3", None),
        ("%d.%m.%Y", "31.02.2024", None),
    ],
)
def test_dates_are_parsed_by_date_format(form, written, day):
    (read,) = as_dates(forms([written], dates=["x"], date_format=form))
    assert read is pd.NaT if day is None else read == pd.Timestamp(day)


@pytest.mark.parametrize(
    "written",
    [
        "2024-01-05 00:00:00",
        "2024-01-05T00:00:00Z",
        "2024-01-05 00:00:00+05:45",
        "2024-01-05 00:00",
        "2024-01-05T00:00:00.000",
    ],
)
def test_a_timestamp_at_midnight_is_a_date(written):
    assert as_dates(pd.Series([written])).tolist() == [pd.Timestamp("2024-01-05")]


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        ([True, None, False], [1, np.nan, 0]),
        (["True", None, "false"], [1, np.nan, 0]),
        (["TRUE", "FALSE"], [1, 0]),
        (["True", "7"], [np.nan, 7]),
    ],
)
def test_booleans_with_missing_values_are_numbers(values, numbers):
    result = as_numbers(pd.Series(values, dtype=object))
    assert np.array_equal(result, numbers, equal_nan=True)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["43,5", "7,25"], "set data.source.decimal to ','"),
        (["1.234,5"], "decimal to ',' and data.source.thousands to '.'"),
        (["1,234.5", "2,000"], "set data.source.thousands to ','"),
        (["1,234", "5,678"], "decimal mark or does it group thousands?"),
        (["12 000"], "set data.source.thousands to ' '"),
        (["1'234.50"], 'data.source.thousands to "\'"'),
        (["#N/A"], 'na_values to ["#N/A"]'),
        (["-", "n/a"], 'na_values to ["-", "n/a"]'),
        (["43,5", "#N/A"], "decimal to ',', and data.source.na_values to [\"#N/A\"]"),
        (["12 kg"], "without 'kg'"),
        (["45 %", "3%"], "without '%'"),
        (["$12.5"], "without '$'"),
        (["Rs. 100"], "without 'Rs.'"),
        (["(5)"], "minus sign"),
        (["05.01.2024"], "a date is not a number"),
        (["2024-01-05"], "a date is not a number"),
        (["pro", "basic"], "problem.categorical"),
    ],
)
def test_remedy_for_cells_that_are_not_numbers(cells, message):
    assert message in number_remedy(cells)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["05.01.2024"], '"%d.%m.%Y"'),
        (["05/25/2024"], '"%m/%d/%Y"'),
        (["25/01/2024", "05/01/2024"], '"%d/%m/%Y"'),
        (["05/01/2024"], '"%d/%m/%Y" or "%m/%d/%Y": each parses every cell'),
        (["20240105"], '"%Y%m%d"'),
        (["45296", "45300"], '"excel"'),
        (["2024-01-05T10:00:00Z"], '"%Y-%m-%dT%H:%M:%S%z"'),
        (["2024-01-05 10:30:00"], '"%Y-%m-%d %H:%M:%S"'),
        (["5 Jan 2024"], '"%d %b %Y"'),
        (["1704412800"], '"unix"'),
        (["-"], 'na_values to ["-"]'),
        (["whenever"], "the format of the dates"),
    ],
)
def test_remedy_for_cells_that_are_not_iso_dates(cells, message):
    assert message in date_remedy(cells)


def test_a_proposed_format_reads_the_dates(make_project):
    project = make_project()
    (project.root / "a.csv").write_text("day,x\n25.01.2024,1\n05.02.2024,2\n")
    source = CsvSource(kind="csv", path="a.csv", date_format="%d.%m.%Y")
    rows = read_source(source, project, {"day"}, {"day"})
    assert as_dates(rows.frame["day"]).dt.month.tolist() == [1, 2]


def test_text_columns_are_not_read_as_numbers(make_project):
    project = make_project()
    (project.root / "a.csv").write_text("id;x\n1.234;1.234,5\n007;2\n")
    source = CsvSource(kind="csv", path="a.csv", delimiter=";", decimal=",", thousands=".")
    frame = read_source(source, project, {"id"}).frame
    assert frame["id"].tolist() == ["1.234", "007"]
    assert frame["x"].tolist() == [1234.5, 2.0]


@pytest.mark.parametrize(
    ("cells", "others", "message"),
    [
        (["43,5"], ["43.5"], "write them like the other cells: a decimal point"),
        (["43,5"], ["43"], "set data.source.decimal to ','"),
        (["1,234.5"], ["999", "12.5"], "set data.source.thousands to ','"),
        (["old"], ["43.5"], "correct the cells"),
        (["#N/A"], ["43.5"], 'na_values to ["#N/A"]'),
        (["\u22125"], ["5"], "write the minus sign as '-'"),
    ],
)
def test_a_setting_is_proposed_only_if_it_parses_the_other_cells_too(cells, others, message):
    assert message in number_remedy(cells, others)


def test_remedy_for_a_few_dates_in_another_format_names_the_format_of_the_others():
    assert date_remedy(["05.01.2024"], ["2024-01-06"]) == (
        "write them like the other cells: YYYY-MM-DD"
    )


@pytest.mark.parametrize(
    ("cells", "others", "message"),
    [
        (["2023-02-29"], ["2023-02-28"], "these dates do not exist"),
        (["2023-02-28 12:30:00"], [], 'date_format to "%Y-%m-%d %H:%M:%S"'),
        (["2023"], [], "a period is not a date"),
        (["2023-01", "2023-02"], [], "a period is not a date"),
        (["2023-W05", "2023Q1"], [], "a period is not a date"),
        (["231231"], [], '"%y%m%d" or '),
        (["0000-00-00"], ["2023-01-01"], 'na_values to ["0000-00-00"]'),
        (["1. Januar 2023"], [], "parsed in English"),
        (
            [f"{day:02d}/01/2023" for day in range(13, 29)]
            + [f"01/{day:02d}/2023" for day in range(13, 29)],
            [],
            'two formats, "%d/%m/%Y" and "%m/%d/%Y"',
        ),
    ],
)
def test_remedy_for_dates_that_no_format_parses(cells, others, message):
    assert message in date_remedy(cells, others)


def test_remedy_names_the_format_of_the_other_cells():
    assert date_remedy(["June"], ["2024-01-06"], "%d.%m.%Y") == (
        "write them like the other cells: %d.%m.%Y"
    )


@pytest.mark.parametrize(
    ("cells", "others", "message"),
    [
        (["1e39"], ["1"], "at most 3.4e38"),
        (["inf", "-inf"], [], "at most 3.4e38"),
        (["1.234,5", "1,234.5"], [], "'1.234,5' and '1,234.5' have different decimal marks"),
        (["1.#INF", "-1.#IND"], ["1"], "at most 3.4e38"),
        (["07:30", "12:05"], [], "a time or duration is not a number"),
        (["yes", "no", "True"], ["1"], "write 1 and 0"),
        (["43 kg"], [], "or name the column in problem.drop and compute the number in a feature"),
        (["43 kg"], ["43"], "write the number without 'kg' in the data source"),
        (["43 kg", "95 lb"], [], "several units, 'kg', 'lb'"),
    ],
)
def test_remedy_for_numbers_that_no_setting_parses(cells, others, message):
    assert message in number_remedy(cells, others)


def test_timestamps_among_midnights_get_a_format_that_parses_both():
    cells, others = ["2023-01-01 23:00:00+01:00"], ["2023-07-02 00:00:00+02:00"]
    assert date_remedy(cells, others) == 'set data.source.date_format to "%Y-%m-%d %H:%M:%S%z"'


@pytest.mark.parametrize(
    ("cells", "others", "form", "message"),
    [
        (["2024-01-13"], ["2024-12-01"], "%Y-%d-%m", '"%Y-%m-%d"'),
        (["2024-01-13"], [], "%d.%m.%Y", '"%Y-%m-%d"'),
        (["2024-13-01"], ["2024-01-02"], None, '"%Y-%d-%m"'),
        (["13.01.2024", "n. n."], ["2024-05-03"], "%m.%d.%Y", '"%d.%m.%Y"'),
        (["13.01.2024"], ["2024-05-03"], "excel", "like the other cells: excel"),
    ],
)
def test_remedy_for_a_date_format_that_does_not_parse_every_date(cells, others, form, message):
    assert message in date_remedy([*cells[:1] * 18, *cells[1:]], others, form)


@pytest.mark.parametrize("form", ["%Y-%d-%m", "%d.%m.%Y", "unix", "excel"])
def test_a_date_without_the_configured_format_is_not_parsed_by_another(form):
    read = forms(["2024-01-13", "2024-01-13 00:00:00", None], dates=["x"], date_format=form)
    assert as_dates(read).isna().all()
    assert read[0] == f"2024-01-13 (not {form})"


@pytest.mark.parametrize("form", ["%Y-%d-%m", "%d.%m.%Y", "unix", "excel", "%Y-%m-%d"])
def test_date_columns_need_no_date_format(form):
    days = pd.Series(pd.to_datetime(["2024-01-13", None]))
    applied = apply_forms(days.to_frame("x"), WrittenForms(date_format=form), {"x"}, {"x"})
    read, _ = as_dates(applied["x"])
    assert read == pd.Timestamp("2024-01-13")


def test_a_few_bad_dates_at_the_beginning_do_not_hide_the_format():
    days = [f"{day:02d}.{month:02d}.2024" for month in range(1, 13) for day in range(13, 29)]
    cells = ["whenever", "31.02.2024", "2024-03-03", *days]
    assert date_remedy(cells, ["2024-05-03"], "%m.%d.%Y") == (
        'set data.source.date_format to "%d.%m.%Y"'
    )


def test_a_format_that_reads_some_of_the_dates_wrongly_is_corrected():
    cells, others = ["13/01/2023", "14/01/2023"], ["2023-01-02", "2023-12-01"]
    assert date_remedy(cells, others, "%m/%d/%Y") == ('set data.source.date_format to "%d/%m/%Y"')
