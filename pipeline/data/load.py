"""Reads a source as it is, and names its columns as the problem does."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import (
    CsvSource,
    DataSection,
    Groups,
    ParquetSource,
    Project,
    SimulatedSource,
    Source,
    SqlSource,
)
from pipeline.data.csv_file import read_csv
from pipeline.data.typed import as_text
from pipeline.errors import UsageError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.data.protocols import ProblemLike


def read_source(source: Source, project: Project, text: Collection[str] = ()) -> pd.DataFrame:
    """Read a source in its own column names and row order, with a RangeIndex.

    Args:
        source: where the rows are.
        project: relative paths are relative to its root.
        text: columns that a CSV file must not guess the type of (see :func:`text_columns`).

    Raises:
        UsageError: the file or its form is wrong.
        EnvironmentFault: a database does not answer.
        Refused: the file is empty.
    """
    match source:
        case CsvSource():
            return read_csv(project.path(source.path), source.separator, text)
        case ParquetSource():
            return _read_parquet(project.path(source.path))
        case SqlSource():
            from pipeline.data.sql import read_sql

            return read_sql(source, project.root)
        case SimulatedSource():
            from pipeline.data.simulated import simulate

            return simulate(source)


def text_columns(problem: ProblemLike, data: DataSection) -> frozenset[str]:
    """Return the source's names of the problem's text and date columns."""
    return frozenset(
        data.columns.get(column.name, column.name)
        for column in problem.columns()
        if column.kind in ("text", "date")
    )


def to_problem_columns(
    raw: pd.DataFrame, problem: ProblemLike, data: DataSection, project: Project | None = None
) -> pd.DataFrame:
    """Name columns as the problem does and add constants and groups; values stay as they are.

    Columns that the problem does not know are kept under their own names if the problem keeps
    other columns, except where such a name is one of the problem's. They come after the problem's,
    sorted by name: the order of the source's columns means nothing.

    Args:
        raw: rows in the source's column names.
        problem: says which columns there are.
        data: ``columns``, ``constants`` and ``groups``.
        project: where the groups file lies; without it, groups are not added.

    Raises:
        UsageError: a column is missing, or ``columns``, ``constants`` or ``groups`` do not fit.
    """
    import pandas as pd

    known = {column.name: column for column in problem.columns()}
    _names_known(known, data)
    group = problem.group_column
    grouped = data.groups is not None and project is not None
    frame: dict[str, pd.Series] = {}
    for name, column in known.items():
        given = data.columns.get(name, name)
        if name in data.constants:
            frame[name] = pd.Series([data.constants[name]] * len(raw), index=raw.index)
        elif given in raw.columns:
            frame[name] = raw[given]
        elif name in data.columns or (column.required and not (grouped and name == group)):
            raise _missing(name, given, raw)
    if grouped:
        assert data.groups is not None
        assert project is not None
        frame |= _groups(data.groups, project.path(data.groups.path), problem, frame)
    if problem.keeps_other_columns:
        taken = set(known) | {data.columns.get(name, name) for name in known}
        others = sorted(str(name) for name in raw.columns if name not in taken)
        frame |= {name: raw[name] for name in others}
    return pd.DataFrame(frame, index=raw.index)


def to_source_columns(frame: pd.DataFrame, data: DataSection) -> pd.DataFrame:
    """Name columns as the source does, without the constants: what users' data tests see."""
    kept = frame.drop(columns=[name for name in data.constants if name in frame.columns])
    return kept.rename(columns=data.columns)


def _names_known(known: Collection[str], data: DataSection) -> None:
    for section, names in (("columns", data.columns), ("constants", data.constants)):
        for name in names:
            if name not in known:
                raise UsageError(
                    f"data.{section} names '{name}', which the problem has not",
                    hint=nearest(name, known),
                )
    both = sorted(set(data.columns) & set(data.constants))
    if both:
        raise UsageError(f"'{both[0]}' is in data.columns and in data.constants")


def _missing(name: str, given: str, raw: pd.DataFrame) -> UsageError:
    sources = [str(column) for column in raw.columns]
    alike = [column for column in sources if column.lower() == given.lower()]
    near = f"set data.columns.{name} to '{alike[0]}'" if alike else nearest(given, sources)
    return UsageError(
        f"the source has no column '{given}'",
        expected=f"one for the problem's '{name}'",
        hint=f"{near} (data.columns maps names, data.constants gives a value)",
    )


def _groups(
    groups: Groups, path: Path, problem: ProblemLike, frame: dict[str, pd.Series]
) -> dict[str, pd.Series]:
    entity, name = problem.entity_column, problem.group_column
    if entity is None or name is None or entity not in frame:
        raise UsageError("data.groups is set and the problem has no entities with groups")
    table = read_csv(path, ",", (groups.entity, groups.group))
    for column in (groups.entity, groups.group):
        if column not in table.columns:
            raise UsageError(
                f"{path} has no column '{column}'", hint=nearest(column, table.columns)
            )
    pairs = table.dropna(subset=[groups.entity]).drop_duplicates()
    twice = pairs[groups.entity].duplicated()
    if twice.any():
        raise UsageError(f"{path} gives '{pairs.loc[twice, groups.entity].iloc[0]}' two groups")
    return {name: as_text(frame[entity]).map(pairs.set_index(groups.entity)[groups.group])}


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    try:
        frame = pd.read_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"cannot read {path}: {reason}", expected="a Parquet file") from None
    named = [name for name in frame.index.names if name is not None]
    return (
        frame.reset_index(level=named).reset_index(drop=True)
        if named
        else (frame.reset_index(drop=True))
    )
