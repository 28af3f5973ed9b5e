"""Reading of data sources, and the mapping of their columns to those of the problem."""

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
from ml_pipeline.data.file_bytes import MAX_MEGABYTES, MAX_RATIO, Limit
from ml_pipeline.data.source_rows import SourceRows
from ml_pipeline.data.text_normalization import is_index_name, plain_name, without_blanks
from ml_pipeline.data.typed_columns import as_text
from ml_pipeline.data.written_forms import apply_forms

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.problem import Problem


RESERVED_COLUMNS = frozenset({"source_row", "source_line", "source_text", "reasons"})
"""Columns that are added to quarantined rows."""
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
URL_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
BYTES_PER_VALUE = 8
UNSUPPORTED_TYPES = (
    *("list", "large_list", "fixed_size_list", "struct", "map", "dense_union", "sparse_union"),
    *("duration", "time32", "time64", "binary", "large_binary", "fixed_size_binary", "month_day"),
)
"""Prefixes of the Arrow types that are neither numbers, dates nor text."""


def read_source(
    source: Source, project: Project, text: Collection[str] = (), dates: Collection[str] = ()
) -> SourceRows:
    """Read a source in its own column names and row order.

    Args:
        source: location of the rows, and the format of values.
        project: relative paths are relative to its root.
        text: columns that are kept as exact text (see :func:`text_columns`).
        dates: those of them that hold dates (see :func:`date_columns`).

    Raises:
        UsageError: the file is missing, malformed or of another format.
        EnvironmentFault: a database is unavailable.
        Refused: the file is empty.
    """
    words = {*text} - {*dates}
    if isinstance(source, CsvSource | ParquetSource):
        _refuse_url_or_pattern(source.path, project.path(source.path))
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
    """Return rows that did not come from a source in the form of the project's source.

    Their dates are YYYY-MM-DD, whatever the source's ``date_format`` is.
    """
    forms = data.source if isinstance(data.source, WrittenForms) else WrittenForms()
    forms = forms.model_copy(update={"date_format": None})
    dates = date_columns(problem, data)
    return _with_types(SourceRows(frame), forms, text_columns(problem, data) - dates, dates)


def _with_types(
    rows: SourceRows, forms: WrittenForms, words: Collection[str], dates: Collection[str]
) -> SourceRows:
    """Apply the configured formats, strip blanks from text, and give each column one type."""
    import pandas as pd

    frame, notes = rows.frame, list(rows.notes)
    names = [plain_name(name) for name in frame.columns]
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    if duplicates:
        raise UsageError(
            f"the source has more than one column '{duplicates[0]}'",
            expected="unique column names",
            hint="rename one where it is written or queried (select a.id as a_id, ...)",
        )
    frame = frame.set_axis(names, axis=1)
    nameless = [name for name in names if name in ("", "None")]
    frame = frame.drop(columns=nameless)
    notes += [f"column {names.index(name) + 1} has no name and is left out" for name in nameless]
    columns: dict[str, pd.Series] = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype == object and name not in words and _are_bytes(column):
            notes.append(f"column '{name}' (binary) is left out: not a number, date or text")
            continue
        if column.dtype == object and name in words:
            column = pd.Series(texts(name, column.tolist()), index=column.index, dtype="str")
        elif column.dtype == object and not _of_one_kind(column):
            column = column.map(str, na_action="ignore").astype("str")
        if pd.api.types.is_string_dtype(column.dtype) and column.dtype != object:
            stripped = without_blanks(column)
            changed = int((stripped.fillna("") != column.fillna("")).sum())
            if changed and name in words:
                notes.append(f"blanks around values of '{name}' are removed in {changed:,} rows")
            column = stripped
        columns[name] = column
    frame = apply_forms(pd.DataFrame(columns, index=frame.index), forms, words, dates)
    return replace(rows, frame=frame, notes=tuple(notes), date_format=forms.date_format)


def _are_bytes(column: pd.Series) -> bool:
    known = column.dropna()
    return len(known) > 0 and all(isinstance(value, bytes) for value in known)


def _of_one_kind(column: pd.Series) -> bool:
    kinds = {type(value) for value in column.dropna().unique()}
    return len(kinds) <= 1 and str not in kinds and bytes not in kinds


def text_columns(problem: Problem, data: DataSection) -> frozenset[str]:
    """Return the names, in the source, of the problem's text and date columns."""
    return _columns_of(problem, data, ("text", "date"))


def date_columns(problem: Problem, data: DataSection) -> frozenset[str]:
    """Return the names, in the source, of the problem's date columns."""
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
    """Rename columns to the problem's names and add constants and groups, without changing values.

    If the problem keeps other columns, they follow the problem's, sorted by name, since the order
    of the source's columns has no meaning. A name that is one of the problem's is dropped.

    Args:
        raw: rows in the source's column names.
        problem: names the columns.
        data: ``columns``, ``constants`` and ``groups``.
        project: contains the groups file; without it, groups are not added.

    Raises:
        UsageError: a column is missing, or ``columns``, ``constants`` or ``groups`` do not fit.
    """
    import pandas as pd

    known = {column.name: column for column in problem.columns()}
    _check_known_names(known, data)
    data = data.model_copy(
        update={"columns": {name: plain_name(given) for name, given in data.columns.items()}}
    )
    group = problem.group_column
    grouped = data.groups is not None and project is not None
    frame: dict[str, pd.Series] = {}
    for name, column in known.items():
        source_name = data.columns.get(name, name)
        if name in data.constants:
            frame[name] = pd.Series([data.constants[name]] * len(raw), index=raw.index)
        elif source_name in raw.columns:
            frame[name] = raw[source_name]
        elif name in data.columns or (column.required and not (grouped and name == group)):
            raise _missing(name, source_name, raw)
    if grouped:
        assert data.groups is not None
        assert project is not None
        frame |= _groups(data.groups, project.path(data.groups.path), problem, frame)
    if problem.keeps_other_columns:
        taken = set(known) | {data.columns.get(name, name) for name in known}
        others = sorted(str(name) for name in raw.columns if name not in taken)
        if reserved := [name for name in others if name in RESERVED_COLUMNS]:
            raise UsageError(
                f"the source has a column '{reserved[0]}', a name that reports reserve",
                hint="give it another name where it is written",
            )
        frame |= {name: raw[name] for name in others if not is_index_name(name)}
    return pd.DataFrame(frame, index=raw.index)


def index_columns(raw: pd.DataFrame, problem: Problem, data: DataSection) -> tuple[str, ...]:
    """Return the columns that pandas wrote as an index, unless the problem names them."""
    if not problem.keeps_other_columns:
        return ()
    named = {data.columns.get(column.name, column.name) for column in problem.columns()}
    return tuple(
        str(name) for name in raw.columns if is_index_name(str(name)) and name not in named
    )


def to_source_columns(frame: pd.DataFrame, data: DataSection) -> pd.DataFrame:
    """Rename columns to the source's names and drop constants, for the project's data tests."""
    kept = frame.drop(columns=[name for name in data.constants if name in frame.columns])
    return kept.rename(columns=data.columns)


def _check_known_names(known: Collection[str], data: DataSection) -> None:
    for section, names in (("columns", data.columns), ("constants", data.constants)):
        for name in names:
            if name not in known:
                raise UsageError(
                    f"data.{section} names '{name}', which the problem does not have",
                    hint=nearest(name, known),
                )
    both = sorted(set(data.columns) & set(data.constants))
    if both:
        raise UsageError(f"'{both[0]}' is in data.columns and in data.constants")


def _missing(name: str, source_name: str, raw: pd.DataFrame) -> UsageError:
    sources = [str(column) for column in raw.columns]
    alike = [column for column in sources if column.lower() == source_name.lower()]
    if len(sources) > 1 and any(NUMBER.fullmatch(column) for column in sources):
        return UsageError(
            f"the source has no column '{source_name}'; its first line, which names the columns, "
            f"holds {', '.join(sources[:5])}",
            expected=f"one for the problem's '{name}'",
            hint="if the file has no header, add one as its first line",
        )
    near = f"set data.columns.{name} to '{alike[0]}'" if alike else nearest(source_name, sources)
    return UsageError(
        f"the source has no column '{source_name}'",
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
    duplicates = pairs[groups.entity].duplicated()
    if duplicates.any():
        raise UsageError(
            f"{path} gives '{pairs.loc[duplicates, groups.entity].iloc[0]}' two groups"
        )
    return {name: as_text(frame[entity]).map(pairs.set_index(groups.entity)[groups.group])}


def _read_parquet(path: Path, text: Collection[str], max_unpacked_mb: int | None) -> SourceRows:
    """Read a Parquet file or folder; columns in ``text`` are converted to text by Arrow."""
    import pyarrow.parquet as pq

    notes = []
    with parquet.errors_naming(path):
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
                notes.append(
                    f"column '{field.name}' ({field.type}) is left out: not a number, date or text"
                )
                table = table.drop_columns([field.name])
        frame = table.to_pandas()
    named = [name for name in frame.index.names if name is not None]
    frame = frame.reset_index(level=named) if named else frame
    return SourceRows(frame.reset_index(drop=True), notes=tuple(notes))


def _refuse_url_or_pattern(configured: Path, path: Path) -> None:
    """Refuse URLs and glob patterns: only file paths are supported."""
    if URL_SCHEME.match(str(configured)):
        raise UsageError(
            f"data source {configured} is a URL",
            expected="the path of a file",
            hint="download it, and set the path to the file",
        )
    if set("*?") & set(path.name) and not path.exists():
        raise UsageError(
            f"data source {configured} is a glob pattern",
            expected="the path of one file, or of a folder of Parquet files",
        )


def _schema_of_all(path: Path) -> Any:
    """Return one schema for every file of a folder; None where all are equal.

    Arrow by default uses the first file's: columns of later files would be lost, and columns that
    they lack would be missing values.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    whole = ds.dataset(path, format="parquet", partitioning="hive")
    first = ""
    schemas: list[pa.Schema] = []
    for fragment in whole.get_fragments():
        schema = fragment.physical_schema
        if schemas and {*schema.names} != {*schemas[0].names}:
            differing = sorted({*schema.names} ^ {*schemas[0].names})
            raise UsageError(
                f"{first} and {fragment.path} have different columns: only one of them has "
                f"'{differing[0]}'",
                expected="the same columns in all files of a folder",
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
    unified = pa.unify_schemas(schemas, promote_options="permissive")
    folders = [field for field in whole.schema if field.name not in unified.names]
    return pa.schema([*unified, *folders])


def _is_text(kind: Any) -> bool | None:
    """Return whether an Arrow type is text; None for a column of nulls."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return None if pa.types.is_null(kind) else str(kind) in ("string", "large_string")


def _check_columns(path: Path, max_unpacked_mb: int | None) -> None:
    """Refuse duplicate column names, and a file that decompresses to too much."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    names = [plain_name(name) for name in metadata.schema.to_arrow_schema().names]
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    if duplicates:
        raise UsageError(
            f"{path} has more than one column '{duplicates[0]}'", expected="unique column names"
        )
    size = metadata.num_rows * metadata.num_columns * BYTES_PER_VALUE
    packed = path.stat().st_size
    if max_unpacked_mb is not None or size > packed * MAX_RATIO:
        Limit(max_unpacked_mb or MAX_MEGABYTES, packed).check(path, size)


def _unsupported(name: str, kind: object) -> UsageError:
    return UsageError(f"column '{name}' holds {kind}", expected="numbers, dates or text")
