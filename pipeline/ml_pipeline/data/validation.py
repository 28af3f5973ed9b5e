"""Data tests of a frame: quarantined rows, blanked cells, and the checks for the report."""

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
"""Expectations whose failures a setting in the configuration can fix."""
INCREASE, MOSTLY = "expect_times_to_increase_per_entity", 0.5
"""The test that most rows fail in a file with the newest row first."""
MEASURED = {
    "expect_table_row_count_to_be_between": "the number of clean rows",
    "expect_column_proportion_of_non_null_values_to_be_between": "the share of values",
    "expect_column_mean_to_be_between": "the mean",
    "expect_column_max_to_be_between": "the latest value",
    "expect_column_unique_value_count_to_be_between": "the number of different values",
}
"""What aggregate expectations measure."""
MAX_EXAMPLE_COLUMNS = 4
REMEDY = "column"
"""First word of a remedy, before the column's name."""


@dataclass(frozen=True)
class Validation:
    """The result of the data tests of a frame.

    Attributes:
        clean: the rows that passed, typed, sorted by entity and time, cells blanked; RangeIndex.
        quarantine: the quarantined rows with their source values, ``source_row`` (position in the
            source, from 0) and ``reasons`` (names of the tests that they fail, separated by
            "; "); for a text file also ``source_line``, and the unreadable lines with their
            ``source_text``.
        checks: one for each test, in the order of the tests.
        blanked: number of blanked cells of ``clean`` by column, without zeros.
        results: result of great_expectations for each test.
    """

    clean: pd.DataFrame
    quarantine: pd.DataFrame
    checks: tuple[Check, ...]
    blanked: Mapping[str, int] = field(default_factory=dict)
    results: Mapping[str, Result] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """The origin of a frame's rows, for messages and for the quarantine.

    Attributes:
        source: the rows of the source; the frame may be a sample of them.
        names: the name in the source of each of the problem's columns, where it differs.
        label: the column of a binary label, which need not hold numbers, if any.
        fixed: columns whose kind no option changes.
        tolerance: tolerated share of unreadable lines in a text file.
        date_format: the configured format of the source's dates, if any.
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
    """Run the tests with great_expectations and split the frame by their results.

    Every row of ``frame`` is in ``clean`` or in ``quarantine``. An empty frame, an empty list of
    tests, and a test that cannot be computed fail.

    Args:
        frame: rows in the problem's column names, before types are converted; the index is each
            row's position in the source.
        columns: the columns with their kinds.
        tests: tests with unique names.
        entity: column to sort by first.
        time: column to sort by within an entity.
        progress: called with the current step and the share done.
        origin: the origin of the rows.

    Raises:
        UsageError: a test names an unknown expectation or has wrong arguments.
    """
    import numpy as np
    import pandas as pd

    origin = origin or Origin()
    rows = frame.reset_index(drop=True)
    progress = progress or _no_progress
    progress("reading dates and numbers", 0.0)
    typed = to_types(rows, columns)
    results: dict[str, Result] = {}
    if len(rows):
        written = [test for test in tests if test.expect in WRITTEN_FORM]
        others = [test for test in tests if test.expect not in WRITTEN_FORM]
        progress(f"{len(tests)} data tests on {len(rows):,} rows", 0.2)
        results |= run_suite(rows, written)
        results |= run_suite(typed, others)
    quarantined = np.zeros(len(rows), dtype=bool)
    for test in tests:
        missed = _missed(test, "quarantine", results)
        if missed is not None:
            quarantined |= missed
    progress("quarantining rows and blanking cells", 0.8)
    blanks: dict[str, NDArray[np.bool_]] = {}
    places = frame.index.to_numpy()
    for test in tests:
        missed = _missed(test, "blank", results)
        if missed is not None and test.blank is not None:
            blanks[test.blank] = blanks.get(test.blank, False) | (missed & ~quarantined)
    for name, cells in blanks.items():
        if cells.any():
            typed[name] = typed[name].mask(pd.Series(cells))
    quarantine = rows[quarantined].assign(**{SOURCE_ROW: places[quarantined]})
    quarantine[REASONS] = _reasons(tests, results, quarantined)
    return Validation(
        clean=in_order(typed, entity, time, np.flatnonzero(~quarantined)),
        quarantine=_with_unread(quarantine, origin.source).reset_index(drop=True),
        checks=(
            *unread_checks(origin),
            *_checks(rows, places, tests, results, origin),
        ),
        blanked={name: int(cells.sum()) for name, cells in blanks.items() if cells.any()},
        results=results,
    )


def unread_checks(origin: Origin) -> tuple[Check, ...]:
    """Return the check that the lines of a text file can be read; none for other sources."""
    source = origin.source
    if source is None or source.lines is None:
        return ()
    count, allowed = len(source.unread), int(origin.tolerance * source.count + 1e-9)
    why = ""
    if count:
        first = source.unread[0]
        why = (
            f"{count:,} of {source.count:,} lines cannot be read as rows, the first is "
            f"line {first.line}: {first.reason} ({first.text.strip()[:80]!r})"
        )
        why += (
            "; these lines are quarantined"
            if count <= allowed
            else _above_tolerance(origin.tolerance)
        )
        why += "; correct them in the file"
    return (
        Check(
            name=LINES,
            verdict=Verdict.PASS if count <= allowed else Verdict.FAIL,
            observed=count,
            expected=f"at most {allowed:,} unreadable lines ({origin.tolerance:.2%})",
            why=why,
        ),
    )


def _above_tolerance(tolerance: float) -> str:
    return f"; more than its tolerance of {tolerance:.2%}"


def _with_unread(quarantine: pd.DataFrame, source: SourceRows | None) -> pd.DataFrame:
    """Add line numbers and the unreadable lines of a text file."""
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
    """Run aggregate tests of a clean frame, such as of its size, and return their checks."""
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
    """Return the tests of the clean frame whose failure would not follow from a failed row test.

    None is returned where failed tests quarantined most rows, and none of a column that a failed
    test blanked.
    """
    failed = {check.name for check in found.checks if check.verdict is not Verdict.PASS}
    failing = [test for test in tests if test.name in failed]
    total = len(found.clean) + len(found.quarantine)
    quarantined = LINES in failed or any(test.severity == "quarantine" for test in failing)
    if quarantined and len(found.clean) < MOSTLY * total:
        return ()
    blanked = {test.blank for test in failing}
    return tuple(test for test in frame_tests if not blanked & {*test.columns})


def in_order(
    frame: pd.DataFrame, entity: str | None, time: str | None, rows: NDArray[np.intp] | None = None
) -> pd.DataFrame:
    """Sort by entity, then time, then every other column; the result has a RangeIndex.

    If ``rows`` is given, only the rows at these positions are kept.
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
    """Return ordinal codes of the values, missing ones last; int16 sorts faster."""
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
    tests: Sequence[DataTest], results: Mapping[str, Result], quarantined: NDArray[np.bool_]
) -> pd.Series:
    import numpy as np
    import pandas as pd

    rows = np.flatnonzero(quarantined)
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
    """Return the check of each test, with a single failure per column that cannot be parsed.

    For a label with text among numbers, that is the test of its two values.
    """
    if not tests:
        return (
            Check(
                name="data tests",
                verdict=Verdict.FAIL,
                observed=0,
                expected="at least one",
                why="no data test is defined, so the data is untested",
            ),
        )
    if rows.empty and any(check.verdict is Verdict.FAIL for check in unread_checks(origin)):
        return ()  # the check of the lines explains why there are no rows
    if rows.empty:
        why = "the data has no rows, so no test was run"
        return (
            Check(name="rows", verdict=Verdict.FAIL, observed=0, expected="at least 1", why=why),
        )
    checks = [_check(test, results[test.name], places, rows, origin) for test in tests]
    labels_with_third_value = {
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
        if test.expect == TWO_LABELS and labels_with_third_value & {*test.columns}:
            return True
        reported = labels_with_third_value if test.expect in FORMS else unread
        return not reported & {*test.columns}

    return tuple(
        check
        for test, check in zip(tests, checks, strict=True)
        if check.verdict is not Verdict.FAIL or is_independent(test)
    )


def _check(
    test: DataTest, result: Result, places: NDArray[Any], rows: pd.DataFrame, origin: Origin
) -> Check:
    """Return the check of a result; a result that could not be computed never passes."""
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
            why="" if result.success else _aggregate_failure(test, result),
        )
    count = int(result.missed.sum())
    allowed = int(test.tolerance * len(places) + 1e-9)
    why = ""
    if count:
        first = places[int(result.missed.argmax())]
        shown = [_plain(value) for value in result.observed or ()]
        consequence = {
            "fail": "",
            "quarantine": "; these rows are quarantined",
            "blank": f"; {test.blank} is blanked",
        }[test.severity]
        if count > allowed:
            consequence = _above_tolerance(test.tolerance)
        remedy = _remedy(test, result.missed, rows, origin)
        if count > allowed and test.own and not remedy:
            remedy = f"; correct the data, or if that is right, raise data.tolerances.{test.name}"
        examples = _of_columns(test) + ", ".join(map(str, shown[:3]))
        why = (
            f"{count:,} of {len(places):,} rows ({count / len(places):.2%}), the first in "
            f"{origin.place(first)}, for example {examples}{consequence}{remedy}"
        )
    return Check(
        name=test.name,
        verdict=Verdict.PASS if count <= allowed else Verdict.FAIL,
        observed=count,
        expected=_expected(test, allowed),
        why=why,
    )


def _of_columns(test: DataTest) -> str:
    """Return the column names that precede the values of an example, if it has several."""
    return f"{'/'.join(test.columns)} " if 1 < len(test.columns) <= MAX_EXAMPLE_COLUMNS else ""


def _aggregate_failure(test: DataTest, result: Result) -> str:
    """Return the message of a failed aggregate test: the value, its limits and the remedy."""
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
            why = f"column '{test.columns[0]}' has no values"
    return f"{why}; {test.remedy}" if test.remedy else why


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _remedy(test: DataTest, missed: NDArray[np.bool_], rows: pd.DataFrame, origin: Origin) -> str:
    """Return the remedy for cells that are not numbers, dates or labels, with the column."""
    if test.expect == INCREASE and missed.mean() > MOSTLY:
        return f"; if the newest row comes first, set data.tolerances.{test.name} to 1.0"
    if test.expect == TWO_LABELS:
        remedy = remedies.label_remedy(rows[test.columns[0]], test.args["positive"], missed)
        if not missed.all():
            remedy += f", or set data.tolerances.{test.name} to "
            remedy += f"{remedies.share_over(missed.mean())} to quarantine such rows"
        return f"; {remedy}"
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
        remedy = remedies.date_remedy(cells, others, origin.date_format)
    else:
        remedy = remedies.number_remedy(
            cells, others, label=name == origin.label, fixed=name in origin.fixed
        )
    return f"; {REMEDY} '{origin.names.get(name, name)}': {remedy}"


def _expected(test: DataTest, allowed: int | None) -> str:
    args = ", ".join(f"{name}={value}" for name, value in test.args.items())
    rule = f"{test.expect.removeprefix('expect_').replace('_', ' ')} ({args})"
    return (
        rule if allowed is None else f"at most {allowed:,} rows ({test.tolerance:.2%}) miss: {rule}"
    )


def _plain(value: Any) -> Any:
    """Return a value as readable JSON."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        return "/".join(str(_plain(part)) for part in value)
    value = jsonable(value)
    if value is None or isinstance(value, bool | int | float | str | list):
        return value
    return str(value)
