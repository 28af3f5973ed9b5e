"""``ml-pipeline features``: from raw rows to the model's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import CsvSource, DataSection, ParquetSource, Project, WrittenForms
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.core.report import Progress, Verdict
from ml_pipeline.core.workdir import atomic_path
from ml_pipeline.data.file_bytes import COMPRESSED, SAVE_AS_CSV
from ml_pipeline.data.rules import LINES, DataTest, columns_of, row_tests
from ml_pipeline.data.source_rows import SourceRows
from ml_pipeline.data.sources import date_columns, read_source, text_columns, to_problem_columns
from ml_pipeline.data.typed_columns import to_types
from ml_pipeline.data.validation import (
    FORMS,
    MAX_EXAMPLE_COLUMNS,
    REASONS,
    Origin,
    Validation,
    validate,
)
from ml_pipeline.features.decorator import load_modules
from ml_pipeline.problems.loader import load_problem

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.problem import FeatureFunction, Matrix, Problem

SOURCE_ROW = "source_row"
OUTPUTS = (".parquet", ".csv")
INPUTS = (".csv", *(f".csv{end}" for end in COMPRESSED), ".parquet")
SHOWN = 5
"""Rows that are named where some are left out."""
MOST_CHARACTERS = 80


@dataclass(frozen=True)
class SetAside:
    """A row that is left out: its place in the source from 0, its line, and why."""

    row: int
    line: int | None
    reasons: str

    @property
    def place(self) -> str:
        return f"row {self.row}" if self.line is None else f"line {self.line}"

    def to_json(self) -> dict[str, Any]:
        return {"source_row": self.row, "source_line": self.line, "reasons": self.reasons}


def shown(rows: Sequence[SetAside]) -> str:
    """Return the first rows that are left out, and why."""
    first = ", ".join(f"{row.place} ({row.reasons})" for row in rows[:SHOWN])
    more = len(rows) - SHOWN
    return f"{first}, and {more:,} more (--json lists them)" if more > 0 else first


def left_out(source: SourceRows, reasons: Mapping[int, str]) -> tuple[SetAside, ...]:
    """Return the rows of a source that have no features, in its order.

    Args:
        source: the rows as they were read, with the lines that are no row.
        reasons: the data tests that a row missed, by its place in the source.
    """
    unread = {line.row: f"{LINES}: {line.reason}" for line in source.unread}
    lines = source.lines
    return tuple(
        SetAside(row, None if lines is None else int(lines[row]), why)
        for row, why in sorted((unread | dict(reasons)).items())
    )


@dataclass(frozen=True)
class Computed:
    """What became of the rows: how many were read, were set aside and have features now."""

    read: int
    rows: int
    features: tuple[str, ...]
    blanked: Mapping[str, int]
    out: Path
    missed: tuple[SetAside, ...] = ()

    @property
    def set_aside(self) -> int:
        return self.read - self.rows

    def to_json(self) -> dict[str, Any]:
        return {
            "read": self.read,
            "rows": self.rows,
            "features": list(self.features),
            "blanked": dict(self.blanked),
            "set_aside": [row.to_json() for row in self.missed],
            "out": str(self.out),
        }

    @property
    def summary(self) -> str:
        """One line for the terminal."""
        line = f"{self.rows:,} rows of {len(self.features)} features in {self.out}"
        if self.set_aside:
            line += (
                f"; {self.set_aside:,} of {self.read:,} rows missed a data test and are left out"
            )
        if self.missed:
            line += f": {shown(self.missed)}"
        for name, count in self.blanked.items():
            line += f"; {count:,} cells of {name} count as missing"
        return line


def compute_features(
    project: Project, source: Path, out: Path, progress: Progress | None = None
) -> Computed:
    """Compute the model's inputs for the rows of a file, as training did for its own.

    The file has the project's source columns; the label may be lacking. Rows and cells that the
    data tests would set aside in training are set aside here, whatever their number. The output
    has a row for each one that is left, in the order of the source: ``source_row`` (its place
    there, from 0), the time, entity and group columns that the problem has, and the features.

    Features of a bar need the bars before it, and cross-sectional ones the day's other symbols:
    give the history too, and select the needed rows from the output.

    Args:
        project: its configuration says how columns are mapped and which features there are.
        source: a CSV file, plain or packed, or a Parquet file.
        out: a ``.parquet`` or ``.csv`` file; written whole or not at all.
        progress: called with what is being done.

    Raises:
        UsageError: a file name's ending is unknown, or configuration, columns or a feature
            function are wrong.
        Refused: the file is empty, or no row passes the data tests.
        EnvironmentFault: the output cannot be written.
    """
    if out.suffix not in OUTPUTS:
        raise UsageError(f"--out {out}", expected=f"a file that ends with {' or '.join(OUTPUTS)}")
    problem = load_problem(project.config.problem, project.root)
    functions = load_modules(project.root, project.config.features.modules)
    read = read_file(project, source, problem)
    found = features_of_rows(project, problem, functions, read, progress)
    _write(found.table, out)
    missed = left_out(read, found.set_aside)
    return Computed(read.count, len(found.table), found.names, found.blanked, out, missed)


@dataclass(frozen=True)
class RowFeatures:
    """The model's inputs for rows.

    Attributes:
        table: a row for each one that is left, in the order of the source: ``source_row``, the
            problem's time, entity and group columns, and the features.
        names: of the features.
        blanked: emptied cells, by column.
        set_aside: place in the source of each row that left, with the data tests that it missed.
    """

    table: pd.DataFrame
    names: tuple[str, ...]
    blanked: Mapping[str, int]
    set_aside: Mapping[int, str]


def features_of_rows(
    project: Project,
    problem: Problem,
    functions: Sequence[FeatureFunction],
    read: SourceRows,
    progress: Progress | None = None,
) -> RowFeatures:
    """Compute the model's inputs for rows in the source's columns, which may lack the label.

    Raises:
        UsageError: configuration, columns or a feature function are wrong.
        Refused: no row passes the data tests.
    """
    cleaned = _clean(project, read, problem, progress)
    frame = cleaned.frame
    if progress is not None:
        progress(f"features of {len(frame):,} rows", 0.5)
    places = frame.pop(SOURCE_ROW)
    matrix = problem.matrix(frame, functions, project.config.features.standard)
    return RowFeatures(
        table=_table(problem, frame, places, matrix),
        names=tuple(str(name) for name in matrix.features.columns),
        blanked=cleaned.blanked,
        set_aside=cleaned.set_aside,
    )


def read_file(project: Project, source: Path, problem: Problem) -> SourceRows:
    """Read a CSV file, plain or packed, or a Parquet file in the project's source columns.

    Its values are written as those of ``data.source`` are.

    Raises:
        UsageError: another ending, or a file that is not of its kind.
        Refused: the file is empty.
    """
    path = source.resolve()
    if not path.name.lower().endswith(INPUTS):
        sheet = path.suffix.lower() in (".xls", ".xlsx", ".xlsm", ".xlsb", ".ods")
        raise UsageError(
            f"--in {source}",
            expected=f"a file that ends with {', '.join(INPUTS)}",
            hint=SAVE_AS_CSV if sheet else "",
        )
    data = project.config.data
    parquet = path.suffix.lower() == ".parquet"
    kind: type[CsvSource | ParquetSource] = ParquetSource if parquet else CsvSource
    usual = data.source
    written = isinstance(usual, WrittenForms)
    forms = usual.model_dump(include={*kind.model_fields}) if written else {}
    given = kind.model_validate(forms | {"kind": "parquet" if parquet else "csv", "path": path})
    return read_source(given, project, text_columns(problem, data), date_columns(problem, data))


@dataclass(frozen=True)
class _Cleaned:
    """The rows that pass the data tests, with their ``source_row``, and what became of others."""

    frame: pd.DataFrame
    blanked: Mapping[str, int] = field(default_factory=dict)
    set_aside: Mapping[int, str] = field(default_factory=dict)


def _clean(
    project: Project, read: SourceRows, problem: Problem, progress: Progress | None
) -> _Cleaned:
    data = project.config.data
    given = _with_label(read.frame, problem, project)
    frame = to_problem_columns(given, problem, data, project)
    columns = columns_of(problem, list(frame.columns))
    tests = [
        test
        for test in row_tests(problem, data, list(frame.columns), datetime.now(UTC).date())
        if problem.label_column not in test.columns
    ]
    placed = frame.assign(**{SOURCE_ROW: frame.index.to_numpy()})
    if not tests:
        return _Cleaned(to_types(placed, columns).reset_index(drop=True))
    found = validate(
        placed,
        columns,
        tests,
        entity=problem.entity_column,
        time=problem.time_column,
        progress=progress,
        origin=Origin(read, data.columns, tolerance=1.0),
    )
    for check in found.checks:
        if check.verdict is Verdict.ERROR:
            raise Refused(f"data test '{check.name}': {check.why}")
    if found.clean.empty:
        raise Refused("no row passes the data tests", hint=_first_missed(found, tests, read, data))
    order = found.clean.sort_values(SOURCE_ROW, kind="stable")
    missed = zip(found.quarantine[SOURCE_ROW], found.quarantine[REASONS], strict=True)
    set_aside = {int(place): str(tests) for place, tests in missed}
    return _Cleaned(order.reset_index(drop=True), found.blanked, set_aside)


def _first_missed(
    found: Validation, tests: Sequence[DataTest], read: SourceRows, data: DataSection
) -> str:
    """Say where the first row that left is, which tests it missed, and what it holds there."""
    import pandas as pd

    if found.quarantine.empty:
        return "there is none"
    row = found.quarantine.iloc[0]
    missed = str(row[REASONS]).split("; ")
    about = [test for test in tests if test.name in missed]
    names = dict.fromkeys(name for test in about for name in test.columns if name in row)
    shown = ", ".join(
        f"'{data.columns.get(name, name)}' is "
        f"{'missing' if pd.isna(row[name]) else str(row[name])[:MOST_CHARACTERS]}"
        for name in [*names][:MAX_EXAMPLE_COLUMNS]
    )
    line = f"the first one, {read.place(row[SOURCE_ROW])}, misses: {row[REASONS]}"
    line += f" ({shown})" if shown else ""
    if any(FORMS.get(test.expect) == "date" for test in about):
        line += f"; a day is {read.date_format or 'YYYY-MM-DD'} here"
    return line


def _with_label(raw: pd.DataFrame, problem: Problem, project: Project) -> pd.DataFrame:
    """Add an empty label column where the problem has one and the rows, to be predicted, do not."""
    label = problem.label_column
    if label is None:
        return raw
    name = project.config.data.columns.get(label, label)
    return raw if name in raw.columns else raw.assign(**{name: None})


def _table(
    problem: Problem, frame: pd.DataFrame, places: pd.Series, matrix: Matrix
) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, Any] = {SOURCE_ROW: places.to_numpy(dtype="int64")}
    for name in (problem.time_column, problem.entity_column, problem.group_column):
        if name is not None and name in frame.columns:
            columns[name] = frame[name].to_numpy()
    columns |= {str(name): matrix.features[name] for name in matrix.features.columns}
    return pd.DataFrame(columns)


def _write(table: pd.DataFrame, out: Path) -> None:
    try:
        with atomic_path(out) as temporary:
            if out.suffix == ".parquet":
                table.to_parquet(temporary, index=False)
            else:
                table.to_csv(temporary, index=False, date_format="%Y-%m-%d", lineterminator="\n")
    except OSError as error:
        raise EnvironmentFault(f"cannot write {out}: {error.strerror or error}") from error
