"""The data tests: those of the problem, of the configuration, and of every frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

from ml_pipeline.config import DataSection, Distribution, Expectation
from ml_pipeline.core.errors import UsageError, nearest

if TYPE_CHECKING:
    from ml_pipeline.problem import Column, Problem, Rule

FORM_TOLERANCE = 0.01
LINES = "lines_readable"
"""Name of the test that every line of a text file can be read as a row."""
TWO_LABELS = "expect_column_values_to_be_one_of_two_labels"
WRITTEN_FORM = frozenset(
    {
        "expect_column_values_to_be_finite_numbers",
        "expect_column_values_to_be_iso_date",
        "expect_column_values_to_be_null",
        TWO_LABELS,
        "expect_column_values_to_match_regex",
        "expect_column_values_to_match_strftime_format",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_match_regex",
    }
)
"""Expectations that test values as the source holds them, before dates and numbers are parsed."""

COLUMN_ARGS = ("column", "column_A", "column_B", "entity_column", "time_column")


@dataclass(frozen=True)
class DataTest:
    """A great_expectations expectation with its severity and tolerance.

    ``own``: built in, so ``data.tolerances`` can set its tolerance.
    ``remedy``: what to do where a whole frame fails it.
    """

    name: str
    expect: str
    args: Mapping[str, Any] = field(default_factory=dict)
    severity: Literal["fail", "quarantine", "blank"] = "fail"
    tolerance: float = 0.0
    blank: str | None = None
    own: bool = False
    remedy: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that the expectation tests; none for one of the table."""
        single = [self.args[key] for key in COLUMN_ARGS if key in self.args]
        return (*single, *self.args.get("column_list", ()))


def row_tests(
    problem: Problem, data: DataSection, present: Collection[str], today: date
) -> tuple[DataTest, ...]:
    """Return the tests of single rows of a frame in the problem's column names.

    Args:
        problem: has its own rules; those of absent optional columns do not apply.
        data: ``expectations`` and ``tolerances``.
        present: the frame's columns.
        today: later dates fail.

    Raises:
        UsageError: an expectation names an absent column or cannot have its severity, or
            ``tolerances`` names an unknown test.
    """
    own = [_of_rule(rule, present) for rule in problem.expectations()]
    own = [test for test in own if set(test.columns) <= set(present)]
    tests = [*own, *_forms(problem, own, present)]
    if problem.time_column in present:
        args = {"column": problem.time_column, "latest": today.isoformat()}
        expect = "expect_column_dates_to_be_not_after"
        tests.append(DataTest(f"{problem.time_column}_not_in_future", expect, args, "quarantine"))
    names = [*(test.name for test in tests), LINES]
    for name, share in data.tolerances.items():
        if name not in names:
            raise UsageError(f"data.tolerances names '{name}'", hint=nearest(name, names))
        if not 0 <= share <= 1:
            raise UsageError(f"data.tolerances.{name} is {share}", expected="a share, 0 to 1")
    tests = [
        replace(t, tolerance=data.tolerances.get(t.name, t.tolerance), own=True) for t in tests
    ]
    return (*tests, *_of_configuration(data.expectations, names, present))


def frame_tests(
    columns: Sequence[Column],
    time: str | None,
    data: DataSection,
    today: date,
    label: str | None = None,
    *,
    binary: bool = True,
) -> tuple[DataTest, ...]:
    """Return the aggregate tests of a clean frame: size, age, empty columns, classes.

    A label that is not ``binary`` must have at least two values.
    """
    args: dict[str, Any] = {"min_value": data.min_rows}
    few = "add rows" + (", or lower data.min_rows" if data.min_rows > 1 else "")
    tests = [DataTest("enough_rows", "expect_table_row_count_to_be_between", args, remedy=few)]
    for column in columns:
        args = {"column": column.name, "min_value": 0, "strict_min": True}
        expect = "expect_column_proportion_of_non_null_values_to_be_between"
        empty = f"fill column '{data.columns.get(column.name, column.name)}', or remove it from "
        empty += "the problem's options"
        tests.append(DataTest(f"{column.name}_not_empty", expect, args, remedy=empty))
    if label is not None:
        args = {"column": label, "min_value": 2}
        expect = "expect_column_unique_value_count_to_be_between"
        name, remedy = (
            f"{label}_varies",
            "add rows of other values: a model learns from what differs",
        )
        if binary:
            name = f"{label}_two_classes"
            remedy = "add rows of the other value: a model learns from both"
        tests.append(DataTest(name, expect, args, remedy=remedy))
    if time is not None and data.max_age_days is not None:
        oldest = today - timedelta(days=data.max_age_days)
        args = {"column": time, "min_value": f"{oldest}T00:00:00"}
        stale = "fetch newer data, or raise data.max_age_days"
        tests.append(DataTest("fresh", "expect_column_max_to_be_between", args, remedy=stale))
    return tuple(tests)


def distribution_tests(accepted: Mapping[str, Any], limits: Distribution) -> tuple[DataTest, ...]:
    """Return the tests against the profile of the last accepted data.

    Args:
        accepted: ``columns`` of that profile: null_share, mean and std by name.
        limits: how far null shares may rise and means may shift.
    """
    tests = []
    nulls = (
        "find out where the values are lost; if the change is expected, raise "
        f"data.distribution.null_share (now {limits.null_share:g}) for this release"
    )
    means = (
        "check for a change of unit or population; if the change is expected, raise "
        f"data.distribution.mean_shift (now {limits.mean_shift:g}) for this release"
    )
    for name, previous in accepted.items():
        least = max(0.0, 1 - previous["null_share"] - limits.null_share)
        args = {"column": name, "min_value": least}
        expect = "expect_column_proportion_of_non_null_values_to_be_between"
        tests.append(DataTest(f"{name}_nulls_as_accepted", expect, args, remedy=nulls))
        if previous["mean"] is not None:
            shift = limits.mean_shift * (previous["std"] or 0.0) + 1e-9 * abs(previous["mean"])
            args = {"column": name, "min_value": previous["mean"] - shift}
            args["max_value"] = previous["mean"] + shift
            expect = "expect_column_mean_to_be_between"
            tests.append(DataTest(f"{name}_mean_as_accepted", expect, args, remedy=means))
    return tuple(tests)


def columns_of(problem: Problem, present: Collection[str]) -> tuple[Column, ...]:
    """Return the typed columns of a frame: those of the problem, and its features."""
    own = [column for column in problem.columns() if column.name in present]
    named = {column.name for column in problem.columns()}
    features = problem.feature_columns([name for name in present if name not in named])
    return (*own, *(column for column in features if column.name not in named))


def lines_tolerance(data: DataSection) -> float:
    """Return the tolerated share of a text file's lines that cannot be read as rows."""
    return data.tolerances.get(LINES, FORM_TOLERANCE)


def _of_rule(rule: Rule, present: Collection[str]) -> DataTest:
    args = dict(rule.args)
    if args.get("column_list") == ["*"]:
        args["column_list"] = list(present)
    return DataTest(rule.name, rule.expect, args, rule.severity, rule.tolerance, rule.blank)


def _forms(problem: Problem, own: Iterable[DataTest], present: Collection[str]) -> list[DataTest]:
    """Return tests that dates and numbers can be parsed, where the problem has none."""
    tested = {test.columns[0] for test in own if "date" in test.expect and len(test.columns) == 1}
    tests = []
    for column in columns_of(problem, present):
        if column.kind == "text" or column.name in tested:
            continue
        form = "iso_date" if column.kind == "date" else "finite_numbers"
        tests.append(
            DataTest(
                f"{column.name}_readable",
                f"expect_column_values_to_be_{form}",
                {"column": column.name},
                "quarantine" if column.critical else "blank",
                FORM_TOLERANCE,
                None if column.critical else column.name,
            )
        )
    return tests


def _of_configuration(
    expectations: Iterable[Expectation], taken: Iterable[str], present: Collection[str]
) -> list[DataTest]:
    counted = Counter(taken)
    tests = []
    for number, section in enumerate(expectations):
        where = f"data.expectations.{number}"
        _check_column_names(section.args, where)
        test = DataTest(
            "", section.expect, section.args, section.severity, section.tolerance, section.blank
        )
        absent = [name for name in (*test.columns, section.blank) if name and name not in present]
        if absent:
            raise UsageError(
                f"{where} names a column '{absent[0]}', which the data does not have",
                hint=nearest(absent[0], present),
            )
        if section.blank is not None and section.severity != "blank":
            raise UsageError(f"{where} has blank and severity {section.severity}", expected="blank")
        blank = section.blank
        if section.severity == "blank" and blank is None:
            if len(test.columns) != 1:
                raise UsageError(
                    f"{where} is about {len(test.columns)} columns",
                    expected="blank: the column whose cell is emptied",
                )
            blank = test.columns[0]
        name = section.name or f"{section.expect} ({', '.join(test.columns) or 'table'})"
        counted[name] += 1
        name = name if counted[name] == 1 else f"{name} #{counted[name]}"
        tests.append(replace(test, name=name, blank=blank))
    return tests


def _check_column_names(args: Mapping[str, Any], where: str) -> None:
    """Raise UsageError where an argument for column names has another type."""
    for key in COLUMN_ARGS:
        if not isinstance(args.get(key, ""), str):
            raise UsageError(f"{where}.args.{key} is {args[key]!r}", expected="a column's name")
    named = args.get("column_list", ())
    if not (isinstance(named, list | tuple) and all(isinstance(name, str) for name in named)):
        raise UsageError(f"{where}.args.column_list is {named!r}", expected="a list of names")
