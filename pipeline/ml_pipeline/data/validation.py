"""Data tests of a frame: quarantined rows, blanked cells, and the checks of the report."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.report import Check, Progress, Verdict, jsonable
from ml_pipeline.data import remedies
from ml_pipeline.data.expectation_suite import Result, run_suite
from ml_pipeline.data.rules import LINES, TWO_LABELS, WRITTEN_FORM, DataTest
from ml_pipeline.data.source_rows import SourceRows
from ml_pipeline.data.typed_columns import to_types
from ml_pipeline.data.written_forms import with_expected_form

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.problem import Column

REASONS, SOURCE_ROW = "reasons", "source_row"
SOURCE_LINE, SOURCE_TEXT = "source_line", "source_text"
FORMS = {
    "expect_column_values_to_be_finite_numbers": "number",
    "expect_column_values_to_be_iso_date": "date",
}
"""Expectations for whose misses there is a remedy in the configuration."""
INCREASE, MOSTLY = "expect_times_to_increase_per_entity", 0.5
"""The test that a file with its newest row first misses in most rows."""
MEASURED = {
    "expect_table_row_count_to_be_between": "the number of clean rows",
    "expect_column_proportion_of_non_null_values_to_be_between": "the share of values",
    "expect_column_mean_to_be_between": "the mean",
    "expect_column_max_to_be_between": "the latest value",
    "expect_column_unique_value_count_to_be_between": "the number of different values",
}
"""What expectations about a whole frame measure."""
MAX_NAMED = 4
REMEDY = "column"
"""How a remedy begins, before the column's name."""


@dataclass(frozen=True)
class Validation:
    """What became of a frame.

    Attributes:
        clean: the rows that stay, typed, sorted by entity and time, cells blanked; RangeIndex.
        quarantine: the rows that left, as they were read, with ``source_row`` (their place in the
            source, from 0) and ``reasons`` (names of the tests they missed, separated by "; ");
            of a text file also ``source_line``, and the lines that are no row with their
            ``source_text``.
        checks: one for each test, in the order of the tests.
        blanked: emptied cells of ``clean``, by column; columns without any are not in it.
        results: what great_expectations said of each test.
    """

    clean: pd.DataFrame
    quarantine: pd.DataFrame
    checks: tuple[Check, ...]
    blanked: Mapping[str, int] = field(default_factory=dict)
    results: Mapping[str, Result] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """Where a frame's rows come from, for messages and for the quarantine.

    Attributes:
        source: the rows as they were read; the frame may hold a part of them.
        names: the source's name of each column of the problem, where it has another.
        label: the column that holds the label, if any.
        fixed: columns whose kind no option changes.
        tolerance: share of a text file's lines that may be no row.
        date_format: how the source's dates are written, where that is set.
    """

    source: SourceRows | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    fixed: Collection[str] = ()
    tolerance: float = 0.0
    date_format: str | None = None

    def place(self, row: Any) -> str:
        return f"row {row}" if self.source is None else self.source.place(row)


def validate(
    frame: pd.DataFrame,
    columns: Sequence[Column],
    tests: Sequence[DataTest],
    *,
    entity: str | None = None,
    time: str | None = None,
    progress: Progress | None = None,
    origin: Origin | None = None,
) -> Validation:
    """Run the tests through great_expectations and split the frame by what they say.

    Every row of ``frame`` is in ``clean`` or in ``quarantine``. An empty frame, no tests, and a
    test that could not be computed are failures.

    Args:
        frame: rows in the problem's column names, as they were read; its index is each row's
            place in the source.
        columns: their kinds.
        tests: each with a name of its own.
        entity: column that rows are sorted by first.
        time: column that they are sorted by within an entity.
        progress: called with what is being done and the share that is done.
        origin: where the rows come from.

    Raises:
        UsageError: a test names an unknown expectation or has wrong arguments.
    """
    import numpy as np
    import pandas as pd

    origin = origin or Origin()
    rows = frame.reset_index(drop=True)
    tell = progress or _no_progress
    tell("reading dates and numbers", 0.0)
    typed = to_types(rows, columns)
    results: dict[str, Result] = {}
    if len(rows):
        written = [test for test in tests if test.expect in WRITTEN_FORM]
        others = [test for test in tests if test.expect not in WRITTEN_FORM]
        tell(f"{len(tests)} data tests on {len(rows):,} rows", 0.2)
        results |= run_suite(rows, written)
        results |= run_suite(typed, others)
    leaving = np.zeros(len(rows), dtype=bool)
    for test in tests:
        missed = _missed(test, "quarantine", results)
        if missed is not None:
            leaving |= missed
    tell("setting rows and cells aside", 0.8)
    blanks: dict[str, NDArray[np.bool_]] = {}
    places = frame.index.to_numpy()
    for test in tests:
        missed = _missed(test, "blank", results)
        if missed is not None and test.blank is not None:
            blanks[test.blank] = blanks.get(test.blank, False) | (missed & ~leaving)
    for name, cells in blanks.items():
        if cells.any():
            typed[name] = typed[name].mask(pd.Series(cells))
    quarantine = rows[leaving].assign(**{SOURCE_ROW: places[leaving]})
    quarantine[REASONS] = _reasons(tests, results, leaving)
    return Validation(
        clean=in_order(typed, entity, time, np.flatnonzero(~leaving)),
        quarantine=_with_unread(quarantine, origin.source).reset_index(drop=True),
        checks=(
            *unread_checks(origin),
            *_checks(rows, places, tests, results, origin),
        ),
        blanked={name: int(cells.sum()) for name, cells in blanks.items() if cells.any()},
        results=results,
    )


def unread_checks(origin: Origin) -> tuple[Check, ...]:
    """Return the check that the lines of a text file are rows; none for another source."""
    source = origin.source
    if source is None or source.lines is None:
        return ()
    count, allowed = len(source.unread), int(origin.tolerance * source.count + 1e-9)
    why = ""
    if count:
        first = source.unread[0]
        why = (
            f"{count:,} of {source.count:,} lines are no rows, the first is line {first.line}: "
            f"{first.reason} ({first.text.strip()[:80]!r})"
        )
        why += "; these lines leave" if count <= allowed else _above_tolerance(origin.tolerance)
        why += "; correct them where the file is made"
    return (
        Check(
            name=LINES,
            verdict=Verdict.PASS if count <= allowed else Verdict.FAIL,
            observed=count,
            expected=f"at most {allowed:,} lines ({origin.tolerance:.2%}) that are no row",
            why=why,
        ),
    )


def _above_tolerance(tolerance: float) -> str:
    return f"; more than its tolerance of {tolerance:.2%}"


def _with_unread(quarantine: pd.DataFrame, source: SourceRows | None) -> pd.DataFrame:
    """Add line numbers and the lines that are no row, for a text file."""
    import pandas as pd

    if source is None or source.lines is None:
        return quarantine
    known = quarantine.assign(
        **{SOURCE_LINE: source.lines[quarantine[SOURCE_ROW].to_numpy(dtype="int64")]}
    )
    if not source.unread:
        return known
    lines = pd.DataFrame(
        {
            SOURCE_ROW: [line.row for line in source.unread],
            SOURCE_LINE: [line.line for line in source.unread],
            SOURCE_TEXT: [line.text for line in source.unread],
            REASONS: [f"{LINES}: {line.reason}" for line in source.unread],
        }
    )
    if not len(known):
        return lines.reindex(columns=[*known.columns, SOURCE_TEXT])
    return pd.concat([known, lines], ignore_index=True).sort_values(SOURCE_ROW, kind="stable")


def _no_progress(what: str, share: float) -> None:
    del what, share


def check_frame(frame: pd.DataFrame, tests: Sequence[DataTest]) -> tuple[Check, ...]:
    """Run tests of severity fail on a clean frame, such as its size, and return their checks."""
    import numpy as np

    present = [test for test in tests if set(test.columns) <= set(frame.columns)]
    results = run_suite(frame, present)
    absent = [
        Check(
            name=test.name,
            verdict=Verdict.FAIL,
            observed="no such column",
            expected=_expected(test, None),
            why=f"the data has no column '{test.columns[0]}' any more, which production's data "
            f"had: keep it in the data, with 'problem.drop: [{test.columns[0]}]' in ml.yaml, until "
            "a model without it is in production",
        )
        for test in tests
        if test not in present
    ]
    places = np.arange(len(frame))
    return (
        *(_check(test, results[test.name], places, frame, Origin()) for test in present),
        *absent,
    )


def independent_tests(
    found: Validation, tests: Sequence[DataTest], frame_tests: Sequence[DataTest]
) -> tuple[DataTest, ...]:
    """Return the tests of the clean frame that say more than a row test that failed says already.

    Where failed tests took most rows away, no frame test does; where they emptied a column, none
    about that column.
    """
    failed = {check.name for check in found.checks if check.verdict is not Verdict.PASS}
    failing = [test for test in tests if test.name in failed]
    total = len(found.clean) + len(found.quarantine)
    leaving = LINES in failed or any(test.severity == "quarantine" for test in failing)
    if leaving and len(found.clean) < MOSTLY * total:
        return ()
    emptied = {test.blank for test in failing}
    return tuple(test for test in frame_tests if not emptied & {*test.columns})


def in_order(
    frame: pd.DataFrame, entity: str | None, time: str | None, rows: NDArray[np.intp] | None = None
) -> pd.DataFrame:
    """Sort by entity, then time, then every other column, whatever the order was; RangeIndex.

    Only the rows at the positions ``rows`` are kept, if given.
    """
    import numpy as np

    names = [name for name in (entity, time) if name is not None]
    keys = [_codes(frame[name]) for name in names]
    order = np.arange(len(frame)) if rows is None else rows
    for codes in reversed(keys):
        order = order[np.argsort(codes[order], kind="stable")]
    tied = np.ones(max(len(order) - 1, 0), dtype=bool)
    for codes in keys:
        tied &= codes[order[1:]] == codes[order[:-1]]
    ordered = frame.iloc[order]
    if tied.any():
        rest = [name for name in sorted(map(str, frame.columns)) if name not in names]
        ordered = ordered.sort_values([*names, *rest], kind="stable", key=_comparable)
    return ordered.reset_index(drop=True)


def _codes(column: pd.Series) -> NDArray[Any]:
    """Return numbers in the order of the values, missing ones last; small ones sort faster."""
    import numpy as np
    import pandas as pd

    codes, distinct = pd.factorize(column, sort=True)
    small = len(distinct) < np.iinfo("int16").max
    return np.where(codes < 0, len(distinct), codes).astype("int16" if small else "int64")


def _comparable(column: pd.Series) -> pd.Series:
    return column.astype("str") if column.dtype == object else column


def _missed(
    test: DataTest, severity: str, results: Mapping[str, Result]
) -> NDArray[np.bool_] | None:
    result = results.get(test.name)
    return result.missed if result is not None and test.severity == severity else None


def _reasons(
    tests: Sequence[DataTest], results: Mapping[str, Result], leaving: NDArray[np.bool_]
) -> pd.Series:
    import numpy as np
    import pandas as pd

    rows = np.flatnonzero(leaving)
    reasons = np.full(len(rows), "", dtype=object)
    for test in tests:
        missed = _missed(test, "quarantine", results)
        if missed is not None:
            hit = missed[rows]
            reasons[hit] = reasons[hit] + f"; {test.name}"
    return pd.Series(reasons, index=rows, dtype="str").str.removeprefix("; ")


def _checks(
    rows: pd.DataFrame,
    places: NDArray[Any],
    tests: Sequence[DataTest],
    results: Mapping[str, Result],
    origin: Origin,
) -> tuple[Check, ...]:
    """Return the check of each test, but one failure of a column that could not be read.

    Of a label that holds words beside numbers, that is the test that it has two values.
    """
    if not tests:
        return (
            Check(
                name="data tests",
                verdict=Verdict.FAIL,
                observed=0,
                expected="at least one",
                why="there is no data test, so nothing is known of the data",
            ),
        )
    if rows.empty and any(check.verdict is Verdict.FAIL for check in unread_checks(origin)):
        return ()  # the check of the lines says why there is no row
    if rows.empty:
        why = "the data has no rows, so no test says anything"
        return (
            Check(name="rows", verdict=Verdict.FAIL, observed=0, expected="at least 1", why=why),
        )
    checks = [_check(test, results[test.name], places, rows, origin) for test in tests]
    third = {
        test.columns[0]
        for test, check in zip(tests, checks, strict=True)
        if test.expect == TWO_LABELS
        and check.verdict is Verdict.FAIL
        and isinstance(check.observed, int)
        and check.observed < rows[test.columns[0]].notna().sum()
    }
    unread = {
        test.columns[0]
        for test, check in zip(tests, checks, strict=True)
        if test.expect in FORMS and check.verdict is Verdict.FAIL
    }

    def is_independent(test: DataTest) -> bool:
        if test.expect == TWO_LABELS and third & {*test.columns}:
            return True
        reported = third if test.expect in FORMS else unread
        return not reported & {*test.columns}

    return tuple(
        check
        for test, check in zip(tests, checks, strict=True)
        if check.verdict is not Verdict.FAIL or is_independent(test)
    )


def _check(
    test: DataTest, result: Result, places: NDArray[Any], rows: pd.DataFrame, origin: Origin
) -> Check:
    """Turn a result into a check; only a result that was computed can pass."""
    if result.error:
        return Check(
            name=test.name,
            verdict=Verdict.ERROR,
            observed=result.error,
            expected=_expected(test, None),
            why=f"{test.expect} could not be computed: {result.error}"[:500],
        )
    if result.missed is None:
        return Check(
            name=test.name,
            verdict=Verdict.PASS if result.success else Verdict.FAIL,
            observed=_plain(result.observed),
            expected=_expected(test, None),
            why="" if result.success else _whole(test, result),
        )
    count = int(result.missed.sum())
    allowed = int(test.tolerance * len(places) + 1e-9)
    why = ""
    if count:
        first = places[int(result.missed.argmax())]
        shown = [_plain(value) for value in result.observed or ()]
        fate = {
            "fail": "",
            "quarantine": "; these rows leave",
            "blank": f"; {test.blank} is emptied",
        }[test.severity]
        if count > allowed:
            fate = _above_tolerance(test.tolerance)
        helps = _remedy(test, result.missed, rows, origin)
        if count > allowed and test.own and not helps:
            helps = f"; correct the data, or if that is right, raise data.tolerances.{test.name}"
        examples = _of_columns(test) + ", ".join(map(str, shown[:3]))
        why = (
            f"{count:,} of {len(places):,} rows ({count / len(places):.2%}), the first in "
            f"{origin.place(first)}, for example {examples}{fate}{helps}"
        )
    return Check(
        name=test.name,
        verdict=Verdict.PASS if count <= allowed else Verdict.FAIL,
        observed=count,
        expected=_expected(test, allowed),
        why=why,
    )


def _of_columns(test: DataTest) -> str:
    """Return the names of the few columns that an example of several values is of."""
    return f"{'/'.join(test.columns)} " if 1 < len(test.columns) <= MAX_NAMED else ""


def _whole(test: DataTest, result: Result) -> str:
    """Say what was found where a frame misses a test as a whole, the limits, and what helps."""
    limits = [
        f"{words} {_short(test.args[key])}"
        for key, words in (("min_value", "at least"), ("max_value", "at most"))
        if test.args.get(key) is not None
    ]
    if not limits or result.observed is None:
        why = f"{test.expect} is not met"
    else:
        about = f" of '{test.columns[0]}'" if test.columns else ""
        measured = MEASURED.get(test.expect, "the value")
        why = f"{measured}{about} is {_short(_plain(result.observed))}, expected "
        why += " and ".join(limits)
        if test.args.get("strict_min"):
            why = f"column '{test.columns[0]}' has no value"
    return f"{why}; {test.remedy}" if test.remedy else why


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _remedy(test: DataTest, missed: NDArray[np.bool_], rows: pd.DataFrame, origin: Origin) -> str:
    """Return what helps where cells of a column are no numbers or dates, with its name."""
    if test.expect == INCREASE and missed.mean() > MOSTLY:
        return f"; if the newest row stands first, set data.tolerances.{test.name} to 1.0"
    if test.expect == TWO_LABELS:
        helps = remedies.label_remedy(rows[test.columns[0]], test.args["positive"], missed)
        if not missed.all():
            helps += f", or set data.tolerances.{test.name} to "
            helps += f"{remedies.share_over(missed.mean())} and such rows leave"
        return f"; {helps}"
    if test.expect not in FORMS or len(test.columns) != 1 or test.columns[0] not in rows:
        return ""
    name = test.columns[0]
    cells = remedies.cells_of(rows[name][missed])
    if not cells:
        return ""
    if FORMS[test.expect] == "date" and origin.date_format is not None:
        cells = [cell.removesuffix(with_expected_form("", origin.date_format)) for cell in cells]
    others = remedies.cells_of(rows[name][~missed])
    if FORMS[test.expect] == "date":
        helps = remedies.date_remedy(cells, others, origin.date_format)
    else:
        helps = remedies.number_remedy(
            cells, others, label=name == origin.label, fixed=name in origin.fixed
        )
    return f"; {REMEDY} '{origin.names.get(name, name)}': {helps}"


def _expected(test: DataTest, allowed: int | None) -> str:
    args = ", ".join(f"{name}={value}" for name, value in test.args.items())
    rule = f"{test.expect.removeprefix('expect_').replace('_', ' ')} ({args})"
    return (
        rule if allowed is None else f"at most {allowed:,} rows ({test.tolerance:.2%}) miss: {rule}"
    )


def _plain(value: Any) -> Any:
    """Return a value as JSON and a person can read it."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        return "/".join(str(_plain(part)) for part in value)
    value = jsonable(value)
    if value is None or isinstance(value, bool | int | float | str | list):
        return value
    return str(value)
