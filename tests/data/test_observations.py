"""Advisory checks of data and remedies, in the summary of validate-data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Verdict
from ml_pipeline.stages import runner

ROWS = 200
PROBLEM = {"kind": "table", "label": "y", "entity": "id", "categorical": ["plan"]}


def table(rows: int = ROWS) -> pd.DataFrame:
    generator = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "id": [f"c{n}" for n in range(rows)],
            "age": generator.normal(40, 5, rows).round(1),
            "plan": generator.choice(["pro", "basic"], rows),
            "y": generator.integers(0, 2, rows),
        }
    )


@pytest.fixture
def validated(make_project, make_context):
    """Run the stage on a frame or on text; return its report and its folder."""

    def run(data, *, problem=PROBLEM, **source):
        project = make_project(
            bare=True,
            project="table",
            problem=problem,
            data={"source": {"kind": "csv", "path": "t.csv"} | source},
        )
        text = data if isinstance(data, str) else data.to_csv(index=False)
        (project.root / "t.csv").write_text(text, encoding="utf-8")
        context = make_context(project, "validate-data")
        return runner.execute(context).report, context.workdir / "data"

    return run


def with_cells(column, cells):
    frame = table().astype({column: object})
    frame.loc[range(len(cells)), column] = cells
    return frame


def test_a_cell_that_is_not_a_number_is_reported_with_line_and_remedy(validated):
    report, folder = validated(with_cells("age", ["#N/A"]))
    assert report.verdict is Verdict.PASS
    assert report.metrics["blanked"] == {"age": 1}
    assert "the first in line 2, for example #N/A" in report.summary
    assert "column 'age': if it means a missing value, set data.source.na_values" in report.summary
    clean = pd.read_parquet(folder / "clean.parquet")
    assert clean["age"].dtype == "float64"
    assert clean["age"].isna().sum() == 1


def test_more_such_cells_than_tolerated_fail_and_the_remedy_fixes_it(validated):
    frame = table().assign(age=lambda t: t["age"].map(lambda age: f"{age:.1f}".replace(".", ",")))
    report, _ = validated(frame)
    assert report.verdict is Verdict.FAIL
    assert report.summary.startswith("age_readable: 200 of 200 rows")
    assert "column 'age': set data.source.decimal to ','" in report.summary
    report, folder = validated(frame, decimal=",")
    assert report.verdict is Verdict.PASS
    clean = pd.read_parquet(folder / "clean.parquet").sort_values("id")
    assert clean["age"].tolist() == table().sort_values("id")["age"].tolist()


def test_unreadable_lines_are_quarantined_with_their_text(validated):
    lines = table().to_csv(index=False).splitlines()
    lines[10] = "c9,41.0"
    report, folder = validated("\n".join(lines) + "\n")
    assert report.verdict is Verdict.PASS
    assert report.metrics["rows"] == ROWS
    assert report.metrics["rows_clean"] == ROWS - 1
    aside = pd.read_parquet(folder / "quarantine.parquet")
    assert aside[["source_row", "source_line", "source_text"]].to_numpy().tolist() == [
        [9, 11, "c9,41.0"]
    ]
    assert aside["reasons"].tolist() == ["lines_readable: 2 fields, the header has 4"]
    assert (
        "lines_readable: 1 of 200 lines cannot be read as rows, the first is line 11"
        in report.summary
    )


def test_more_short_lines_than_tolerated_fail(validated):
    lines = table().to_csv(index=False).splitlines()
    lines[10:14] = ["c9,41.0"] * 4
    report, _ = validated("\n".join(lines) + "\n")
    assert report.verdict is Verdict.FAIL
    assert report.summary.startswith("lines_readable: 4 of 200 lines cannot be read as rows")


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda t: t.reset_index().rename(columns={"index": "Unnamed: 0"}), "'Unnamed: 0' is left"),
        (lambda t: t.reset_index().rename(columns={"index": ""}), "column 1 has no name"),
        (
            lambda t: t.assign(row=np.random.default_rng(1).permutation(len(t)) + 1),
            "column 'row' is a feature and numbers the rows",
        ),
        (lambda t: t.assign(id=["9.01E+15", *t["id"][1:]]), "a spreadsheet rounded numbers"),
        (lambda t: t.replace({"plan": {"pro": "pro "}}), "blanks around values of 'plan'"),
        (
            lambda t: t.assign(plan=["PRO", *t["plan"][1:]]),
            "values of 'plan' that differ only in case or blanks",
        ),
    ],
)
def test_an_advisory_check_is_a_note_in_the_summary(validated, change, note):
    report, _ = validated(change(table()))
    assert report.verdict is Verdict.PASS
    assert note in report.summary


def test_many_categories_are_reported_with_their_memory(validated):
    frame = table(1500).assign(plan=lambda t: t["id"])
    report, _ = validated(frame)
    assert report.verdict is Verdict.PASS
    assert "'plan' has 1,500 categories, each a column of the model: 1,500 rows" in report.summary
    assert "9 MB" in report.summary


def test_duplicate_rows_are_quarantined_if_there_is_an_entity(validated):
    frame = table()
    report, folder = validated(pd.concat([frame, frame.iloc[[3]]]))
    assert report.verdict is Verdict.PASS
    assert report.metrics["rows_quarantined"] == 1
    assert pd.read_parquet(folder / "quarantine.parquet")["source_line"].tolist() == [ROWS + 2]
    report, _ = validated(pd.concat([frame, frame.iloc[:20]]))
    assert report.verdict is Verdict.FAIL
    assert report.summary.startswith("rows_distinct: 20 of 220 rows")
    nobody = {"kind": "table", "label": "y", "categorical": ["plan"], "drop": ["id"]}
    report, _ = validated(pd.concat([frame, frame.iloc[:20]]), problem=nobody)
    assert report.verdict is Verdict.PASS
    assert report.metrics["rows_clean"] == ROWS + 20
    assert "rows_distinct: 20 of 220 rows" in report.summary


@pytest.mark.parametrize(
    ("written", "positive"),
    [
        (("yes", "no"), True),
        (("Yes", "No"), True),
        (("true", "false"), True),
        (("Y", "N"), True),
        (("1.0", "0.0"), True),
        (("no", "yes"), False),
        (("yes", "no"), "yes"),
        (("1.0", "0.0"), "1"),
        (("1.0", "0.0"), 1),
        (("TRUE", "FALSE"), 1),
        (("2", "1"), 2),
        (("yes ", " no"), "yes"),
    ],
)
def test_spellings_of_labels_are_equal(validated, written, positive):
    from ml_pipeline.problems.table import Table, TableOptions

    frame = table().assign(y=lambda t: t["y"].map(dict(zip((1, 0), written, strict=True))))
    options = PROBLEM | {"positive": positive}
    report, folder = validated(frame, problem=options)
    assert report.verdict is Verdict.PASS, report.summary
    clean = pd.read_parquet(folder / "clean.parquet")
    problem = Table(TableOptions(**{k: v for k, v in options.items() if k != "kind"}))
    label = problem.matrix(clean, [], True).label
    assert dict(zip(clean["id"], label, strict=True)) == dict(
        zip(table()["id"], table()["y"], strict=True)
    )


def test_labels_that_yaml_must_quote_are_reported(validated):
    from ml_pipeline.problems.table import Table, TableOptions

    frame = table().assign(y=lambda t: t["y"].map({1: "NO", 0: "SE"}))
    with pytest.raises(UsageError, match=r"never false: it is .*in quotes"):
        Table(TableOptions(label="y", positive=False, drop=("id", "plan"))).matrix(frame, [], True)
    report, _ = validated(frame)
    assert 'set problem.positive to the value that means 1: "' in report.summary


DATED = PROBLEM | {"time": "day"}


def dated() -> pd.DataFrame:
    return table().assign(day=pd.date_range("2023-01-01", periods=ROWS).strftime("%Y-%m-%d"))


def failed(report) -> list[str]:
    return [check.name for check in report.checks if check.verdict is Verdict.FAIL]


@pytest.mark.parametrize("form", [None, "%d/%m/%Y", "%m.%d.%Y", "%Y-%m-%d", "excel"])
def test_dates_in_another_format_are_one_failure(validated, form):
    frame = dated().assign(day=lambda t: pd.to_datetime(t["day"]).dt.strftime("%d.%m.%Y"))
    source = {} if form is None else {"date_format": form}
    report, _ = validated(frame, problem=DATED, **source)
    assert failed(report) == ["day_format"]
    assert report.summary.endswith('set data.source.date_format to "%d.%m.%Y"')


@pytest.mark.parametrize("cell", ["1e+39", "-1e+39", "inf"])
def test_a_number_beyond_float32_is_reported_with_its_line(validated, cell):
    report, folder = validated(with_cells("age", [40, cell]))
    assert report.verdict is Verdict.PASS
    assert f"the first in line 3, for example {cell}; age is blanked" in report.summary
    assert pd.read_parquet(folder / "clean.parquet")["age"].isna().sum() == 1


def test_a_third_label_is_reported_with_its_line_and_quarantined_if_tolerated(
    validated, make_project, make_context
):
    frame = with_cells("y", [2, 2])
    report, _ = validated(frame)
    assert failed(report) == ["y_two_values"]
    assert "the first in line 2, for example 2" in report.summary
    assert "2 (2): a label has two values" in report.summary
    assert "or set data.tolerances.y_two_values to 0.011 to quarantine such rows" in report.summary
    project = make_project(
        "tolerant",
        bare=True,
        project="table",
        problem=PROBLEM,
        data={
            "source": {"kind": "csv", "path": "t.csv"},
            "tolerances": {"y_two_values": 0.011},
        },
    )
    frame.to_csv(project.root / "t.csv", index=False)
    report = runner.execute(make_context(project, "validate-data")).report
    assert report.verdict is Verdict.PASS
    assert report.metrics["rows_quarantined"] == 2


@pytest.mark.parametrize("count", [1, 30])
def test_text_among_numbers_is_a_third_label(validated, count):
    report, _ = validated(with_cells("y", ["maybe"] * count))
    assert failed(report) == ["y_two_values"]
    assert f"maybe ({count}): a label has two values" in report.summary


def test_a_blank_label_and_na_are_missing(validated):
    report, _ = validated(with_cells("y", [" ", "NA"]))
    assert report.verdict is Verdict.PASS
    assert report.metrics["rows_quarantined"] == 2


def test_the_remedy_for_a_missing_label_marker_is_na_values(validated):
    report, _ = validated(with_cells("y", ["-"]))
    assert failed(report) == ["y_two_values"]
    assert 'set data.source.na_values to ["-"]' in report.summary


def test_a_file_without_rows_fails_with_any_tolerance(make_project, make_context):
    project = make_project(
        bare=True,
        project="table",
        problem=PROBLEM,
        data={
            "source": {"kind": "csv", "path": "t.csv"},
            "tolerances": {"lines_readable": 1.0},
        },
    )
    header = ",".join(table().columns)
    (project.root / "t.csv").write_text(f"{header}\n" * 3)
    report = runner.execute(make_context(project, "validate-data")).report
    assert report.verdict is Verdict.FAIL
    assert "rows" in failed(report)


@pytest.mark.parametrize("positive", [5, "gone", True])
def test_a_positive_that_does_not_occur_fails_and_the_values_are_listed(validated, positive):
    words = table().assign(y=lambda t: t["y"].map({1: "left", 0: "stays"}))
    frame = table() if isinstance(positive, int) and positive is not True else words
    report, _ = validated(frame, problem=PROBLEM | {"positive": positive})
    assert failed(report) == ["y_two_values"]
    never = "true" if positive is True else repr(positive)
    assert f"and never {never}: set problem.positive" in report.summary
    assert ("in quotes where YAML" in report.summary) == (positive is True)


def test_a_constant_label_fails(validated):
    report, _ = validated(table().assign(y=1))
    assert failed(report) == ["y_two_classes"]
    assert "a model learns from both" in report.summary


def test_a_placeholder_date_is_reported(validated):
    frame = dated()
    frame.loc[3, "day"] = "1900-01-01"
    report, _ = validated(frame, problem=DATED)
    assert "'day' is 1900-01-01 in 1 rows, 2023-01-01 or later in all others" in report.summary
    frame.loc[3, "day"] = "2022-12-31"
    report, _ = validated(frame, problem=DATED)
    assert "1900" not in report.summary


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([None] * ROWS, "column 'x' is a feature and has no values"),
        ([7] * ROWS, "column 'x' is a feature and has only the value 7"),
        (
            [2**53 + n for n in range(ROWS)],
            "'x' is a feature of 200 different integers, of which 1 stay different in float32",
        ),
        (
            [10**12 + n for n in range(ROWS)],
            "'x' is a feature of 200 different integers, of which 1 stay different in float32",
        ),
    ],
    ids=["empty", "constant", "beyond 2^53", "beyond 2^24"],
)
def test_an_uninformative_feature_is_reported(validated, values, message):
    report, _ = validated(table().assign(x=values))
    assert report.verdict is Verdict.PASS
    assert message in report.summary


def test_large_amounts_are_not_reported_as_identifiers(validated):
    amounts = np.random.default_rng(1).integers(10**8, 10**9, ROWS)
    report, _ = validated(table().assign(x=amounts))
    assert "'x'" not in report.summary


def test_labels_that_differ_only_in_case_are_reported(validated):
    words = table().assign(
        y=lambda t: [
            "Yes" if n % 7 == 0 else w for n, w in enumerate(t["y"].map({1: "yes", 0: "no"}))
        ]
    )
    report, _ = validated(words, problem=PROBLEM | {"positive": "yes"})
    assert failed(report) == ["y_two_values"]
    assert "differ only in case or blanks: use one spelling" in report.summary


def test_values_that_include_quotes_are_reported(validated):
    report, _ = validated(table().assign(plan=lambda t: "'" + t["plan"] + "'"))
    assert report.verdict is Verdict.PASS
    assert "values of 'plan' include their quotes" in report.summary


def test_a_file_of_unreadable_lines_is_one_failure(validated):
    report, _ = validated('id,age,plan,y\n"a" ,1,pro,1\n"b" ,2,pro,0\n')
    assert failed(report) == ["lines_readable"]


@pytest.mark.parametrize("form", ["%Y-%d-%m", "%d.%m.%Y", "%m.%d.%Y", "%Y%m%d", "excel", "unix"])
def test_iso_dates_are_not_parsed_if_another_format_is_set(validated, form):
    report, _ = validated(dated(), problem=DATED, date_format=form)
    assert failed(report) == ["day_format"]
    assert f"(not {form})" in report.summary
    assert report.summary.endswith('set data.source.date_format to "%Y-%m-%d"')


def test_a_single_date_in_another_format_is_quarantined_and_counted(validated):
    frame = dated().assign(day=lambda t: pd.to_datetime(t["day"]).dt.strftime("%d.%m.%Y"))
    frame.loc[3, "day"] = "2023-01-04"
    report, folder = validated(frame, problem=DATED, date_format="%d.%m.%Y")
    assert report.verdict is Verdict.PASS
    assert report.metrics["rows_quarantined"] == 1
    left = pd.read_parquet(folder / "quarantine.parquet")
    assert left[["day", "reasons"]].to_numpy().tolist() == [
        ["2023-01-04 (not %d.%m.%Y)", "day_format"]
    ]
    assert "write them like the other cells: %d.%m.%Y" in report.summary
