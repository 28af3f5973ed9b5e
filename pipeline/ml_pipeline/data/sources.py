"""Reading of a source, and the mapping of its columns to the problem's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import (
    CsvSource,
    DataSection,
    Groups,
    ParquetSource,
    Project,
    SimulatedSource,
    Source,
    SqlSource,
    WrittenForms,
)
from ml_pipeline.core.errors import UsageError, nearest
from ml_pipeline.data import parquet
from ml_pipeline.data.csv_file import read_csv
from ml_pipeline.data.exact_text import arrow_texts, texts
from ml_pipeline.data.file_bytes import MOST_MEGABYTES, MOST_TIMES, Limit
from ml_pipeline.data.source_rows import SourceRows
from ml_pipeline.data.text_normalization import is_index_name, plain_name, without_blanks
from ml_pipeline.data.typed_columns import as_text
from ml_pipeline.data.written_forms import apply_forms

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.problem import Problem


RESERVED_COLUMNS = frozenset({"source_row", "source_line", "source_text", "reasons"})
"""Columns that the rows set aside have beside their own."""
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
BYTES_OF_A_VALUE = 8
UNSUPPORTED_TYPES = (
    *("list", "large_list", "fixed_size_list", "struct", "map", "dense_union", "sparse_union"),
    *("duration", "time32", "time64", "binary", "large_binary", "fixed_size_binary", "month_day"),
)
"""Arrow types (as their names start) of columns that are neither numbers, dates nor text."""


def read_source(
    source: Source, project: Project, text: Collection[str] = (), dates: Collection[str] = ()
) -> SourceRows:
    """Read a source in its own column names and row order.

    Args:
        source: where the rows are, and how values are written.
        project: relative paths are relative to its root.
        text: columns that are no numbers (see :func:`text_columns`): they are text, exactly.
        dates: those of them that hold dates (see :func:`date_columns`).

    Raises:
        UsageError: the file or its form is wrong.
        EnvironmentFault: a database does not answer.
        Refused: the file is empty.
    """
    words = {*text} - {*dates}
    if isinstance(source, CsvSource | ParquetSource):
        _refuse_other_places(source.path, project.path(source.path))
    match source:
        case CsvSource():
            plain = source.decimal == "." and source.thousands is None
            rows = read_csv(
                project.path(source.path),
                source.separator,
                {*text, *dates},
                encoding=source.encoding,
                na_values=source.na_values,
                guess_types=plain,
                max_unpacked_mb=source.max_unpacked_mb,
            )
        case ParquetSource():
            rows = _read_parquet(project.path(source.path), words, source.max_unpacked_mb)
        case SqlSource():
            from ml_pipeline.data.sql import read_sql

            rows = SourceRows(read_sql(source, project.root, text=words))
        case SimulatedSource():
            from ml_pipeline.data.simulated import simulate

            return SourceRows(simulate(source))
    return _with_types(rows, source, words, {*dates})


def as_rows(frame: pd.DataFrame, problem: Problem, data: DataSection) -> SourceRows:
    """Return rows that did not come from a source as the project's source would give them.

    Their days are YYYY-MM-DD, whatever the source's ``date_format`` is.
    """
    forms = data.source if isinstance(data.source, WrittenForms) else WrittenForms()
    forms = forms.model_copy(update={"date_format": None})
    dates = date_columns(problem, data)
    return _with_types(SourceRows(frame), forms, text_columns(problem, data) - dates, dates)


def _with_types(
    rows: SourceRows, forms: WrittenForms, words: Collection[str], dates: Collection[str]
) -> SourceRows:
    """Apply the written forms, take blanks from around texts, and give each column one type."""
    import pandas as pd

    frame, notes = rows.frame, list(rows.notes)
    names = [plain_name(name) for name in frame.columns]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(
            f"the source has more than one column '{twice[0]}'",
            expected="one of a name",
            hint="name them apart where they are written or queried (select a.id as a_id, ...)",
        )
    frame = frame.set_axis(names, axis=1)
    nameless = [name for name in names if name in ("", "None")]
    frame = frame.drop(columns=nameless)
    notes += [f"column {names.index(name) + 1} has no name and is left out" for name in nameless]
    taken: dict[str, pd.Series] = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype == object and name not in words and _are_bytes(column):
            notes.append(f"column '{name}' (binary) is left out: not a value")
            continue
        if column.dtype == object and name in words:
            column = pd.Series(texts(name, column.tolist()), index=column.index, dtype="str")
        elif column.dtype == object and not _of_one_kind(column):
            column = column.map(str, na_action="ignore").astype("str")
        if pd.api.types.is_string_dtype(column.dtype) and column.dtype != object:
            stripped = without_blanks(column)
            changed = int((stripped.fillna("") != column.fillna("")).sum())
            if changed and name in words:
                notes.append(f"blanks around values of '{name}' are taken off in {changed:,} rows")
            column = stripped
        taken[name] = column
    frame = apply_forms(pd.DataFrame(taken, index=frame.index), forms, words, dates)
    return replace(rows, frame=frame, notes=tuple(notes), date_format=forms.date_format)


def _are_bytes(column: pd.Series) -> bool:
    known = column.dropna()
    return len(known) > 0 and all(isinstance(value, bytes) for value in known)


def _of_one_kind(column: pd.Series) -> bool:
    kinds = {type(value) for value in column.dropna().unique()}
    return len(kinds) <= 1 and str not in kinds and bytes not in kinds


def text_columns(problem: Problem, data: DataSection) -> frozenset[str]:
    """Return the source's names of the problem's text and date columns."""
    return _columns_of(problem, data, ("text", "date"))


def date_columns(problem: Problem, data: DataSection) -> frozenset[str]:
    """Return the source's names of the problem's date columns."""
    return _columns_of(problem, data, ("date",))


def _columns_of(problem: Problem, data: DataSection, kinds: Collection[str]) -> frozenset[str]:
    return frozenset(
        plain_name(data.columns.get(column.name, column.name))
        for column in problem.columns()
        if column.kind in kinds
    )


def to_problem_columns(
    raw: pd.DataFrame, problem: Problem, data: DataSection, project: Project | None = None
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
    data = data.model_copy(
        update={"columns": {name: plain_name(given) for name, given in data.columns.items()}}
    )
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
        if reserved := [name for name in others if name in RESERVED_COLUMNS]:
            raise UsageError(
                f"the source has a column '{reserved[0]}', a name that reports use",
                hint="give it another name where it is written",
            )
        frame |= {name: raw[name] for name in others if not is_index_name(name)}
    return pd.DataFrame(frame, index=raw.index)


def index_columns(raw: pd.DataFrame, problem: Problem, data: DataSection) -> tuple[str, ...]:
    """Return the columns that pandas calls an index: left out unless the problem names them."""
    if not problem.keeps_other_columns:
        return ()
    named = {data.columns.get(column.name, column.name) for column in problem.columns()}
    return tuple(
        str(name) for name in raw.columns if is_index_name(str(name)) and name not in named
    )


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
    if len(sources) > 1 and any(NUMBER.fullmatch(column) for column in sources):
        return UsageError(
            f"the source has no column '{given}'; its first line, which names the columns, holds "
            f"{', '.join(sources[:5])}",
            expected=f"one for the problem's '{name}'",
            hint="if the file has no line of names, add one as its first line",
        )
    near = f"set data.columns.{name} to '{alike[0]}'" if alike else nearest(given, sources)
    return UsageError(
        f"the source has no column '{given}'",
        expected=f"one for the problem's '{name}'",
        hint=f"{near} (data.columns maps names, data.constants gives a value)",
    )


def _groups(
    groups: Groups, path: Path, problem: Problem, frame: dict[str, pd.Series]
) -> dict[str, pd.Series]:
    entity, name = problem.entity_column, problem.group_column
    if entity is None or name is None or entity not in frame:
        raise UsageError("data.groups is set and the problem has no entities with groups")
    table = read_csv(path, ",", (groups.entity, groups.group)).frame
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


def _read_parquet(path: Path, text: Collection[str], max_unpacked_mb: int | None) -> SourceRows:
    """Read a Parquet file or folder; columns of ``text`` become text before pandas sees them."""
    import pyarrow.parquet as pq

    notes = []
    with parquet.named(path):
        schema = None
        if path.is_dir():
            schema = _schema_of_all(path)
        elif path.is_file():
            _check_columns(path, max_unpacked_mb)
        table = pq.read_table(path, schema=schema)
        for place, name in enumerate(table.column_names):
            if plain_name(name) in text:
                table = table.set_column(place, name, arrow_texts(name, table.column(place)))
        for field in table.schema:
            if str(field.type).startswith(UNSUPPORTED_TYPES):
                if plain_name(field.name) in text:
                    raise _unsupported(field.name, field.type)
                notes.append(f"column '{field.name}' ({field.type}) is left out: not a value")
                table = table.drop_columns([field.name])
        frame = table.to_pandas()
    named = [name for name in frame.index.names if name is not None]
    frame = frame.reset_index(level=named) if named else frame
    return SourceRows(frame.reset_index(drop=True), notes=tuple(notes))


def _refuse_other_places(given: Path, path: Path) -> None:
    """Refuse URLs and glob patterns: only paths of files are read."""
    if ADDRESS.match(str(given)):
        raise UsageError(
            f"data source {given} is an address",
            expected="the path of a file",
            hint="download it before, and name the file",
        )
    if set("*?") & set(path.name) and not path.exists():
        raise UsageError(
            f"data source {given} is a pattern",
            expected="the path of one file, or of a folder of Parquet files",
        )


def _schema_of_all(path: Path) -> Any:
    """Return the one schema that reads every file of a folder.

    Arrow alone takes the first file's: columns that only later files have would be lost, and those
    that they lack would be missing values.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    whole = ds.dataset(path, format="parquet", partitioning="hive")
    first = ""
    schemas: list[pa.Schema] = []
    for fragment in whole.get_fragments():
        schema = fragment.physical_schema
        if schemas and {*schema.names} != {*schemas[0].names}:
            apart = sorted({*schema.names} ^ {*schemas[0].names})
            raise UsageError(
                f"{first} and {fragment.path} have other columns: '{apart[0]}' is in one alone",
                expected="files of the same columns in one folder",
            )
        for name in schema.names if schemas else ():
            kinds = {_is_text(one.field(name).type) for one in (schemas[0], schema)} - {None}
            if len(kinds) > 1:
                raise UsageError(
                    f"column '{name}' is {schemas[0].field(name).type} in {first} and "
                    f"{schema.field(name).type} in {fragment.path}",
                    expected="one type in all files of a folder",
                )
        first = first or fragment.path
        schemas.append(schema)
    if all(schema.equals(schemas[0]) for schema in schemas):
        return None
    together = pa.unify_schemas(schemas, promote_options="permissive")
    folders = [field for field in whole.schema if field.name not in together.names]
    return pa.schema([*together, *folders])


def _is_text(kind: Any) -> bool | None:
    """Tell whether an Arrow type is text; None where a file has no value at all."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return None if pa.types.is_null(kind) else str(kind) in ("string", "large_string")


def _check_columns(path: Path, max_unpacked_mb: int | None) -> None:
    """Refuse two columns of one name, and a file whose rows are far more than its bytes."""
    import pyarrow.parquet as pq

    described = pq.read_metadata(path)
    names = [plain_name(name) for name in described.schema.to_arrow_schema().names]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(f"{path} has more than one column '{twice[0]}'", expected="one of a name")
    size = described.num_rows * described.num_columns * BYTES_OF_A_VALUE
    packed = path.stat().st_size
    if max_unpacked_mb is not None or size > packed * MOST_TIMES:
        Limit(max_unpacked_mb or MOST_MEGABYTES, packed).check(path, size)


def _unsupported(name: str, kind: object) -> UsageError:
    return UsageError(f"column '{name}' holds {kind}", expected="numbers, dates or text")
