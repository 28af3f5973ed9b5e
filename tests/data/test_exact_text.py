"""Identifiers are exact text from every source."""

from __future__ import annotations

import sqlite3
import uuid
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ml_pipeline.config import CsvSource, ParquetSource, SqlSource
from ml_pipeline.core.errors import UsageError
from ml_pipeline.data.exact_text import texts
from ml_pipeline.data.sources import read_source

BIG = 2**53


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([BIG + 1, None, BIG + 2], [str(BIG + 1), None, str(BIG + 2)]),
        ([2**64 - 1], [str(2**64 - 1)]),
        (["007", None, " x"], ["007", None, " x"]),
        ([1001.0, None, float("nan")], ["1001", None, None]),
        ([1001.0, 1.5], ["1001.0", "1.5"]),
        ([Decimal("9007199254740993.00"), None], ["9007199254740993", None]),
        ([Decimal("1.50"), Decimal("2.00")], ["1.50", "2.00"]),
        ([True, False], ["True", "False"]),
        ([b"abc"], ["abc"]),
        ([uuid.UUID(int=7)], ["00000000-0000-0000-0000-000000000007"]),
    ],
)
def test_values_are_converted_to_exact_text(values, expected):
    assert texts("id", values) == expected


@pytest.mark.parametrize(
    ("values", "message"), [([float(BIG)], "is not exact"), ([b"\xff"], "bytes")]
)
def test_inexact_floats_and_invalid_utf8_are_refused(values, message):
    with pytest.raises(UsageError, match=f"column 'id' holds .*{message}"):
        texts("id", values)


IDS = [str(BIG + number) for number in range(50)]


def written(folder, kind):
    """Write 50 ids of 2^53 and more, the eleventh missing; return the source."""
    numbers = [None if place == 10 else int(name) for place, name in enumerate(IDS)]
    if kind == "csv":
        lines = [f"{'' if number is None else number},1" for number in numbers]
        (folder / "a.csv").write_text("id,x\n" + "\n".join(lines) + "\n")
        return CsvSource(kind="csv", path="a.csv")
    if kind == "sql":
        connection = sqlite3.connect(folder / "a.db")
        connection.execute("create table t (id integer, x real)")
        connection.executemany("insert into t values (?, 1)", [(number,) for number in numbers])
        connection.commit()
        connection.close()
        return SqlSource(kind="sql", url="sqlite:///a.db", query="select id, x from t")
    types = {
        "int64": pa.int64(),
        "uint64": pa.uint64(),
        "decimal": pa.decimal128(20, 0),
        "text": pa.string(),
        "dictionary": pa.int64(),
        "bytes": pa.string(),
    }
    column = pa.array(
        numbers if kind not in ("text", "bytes") else [n and str(n) for n in numbers], types[kind]
    )
    if kind == "dictionary":
        column = column.dictionary_encode()
    if kind == "bytes":
        column = column.cast(pa.binary())
    pq.write_table(pa.table({"id": column, "x": [1.0] * len(numbers)}), folder / "a.parquet")
    return ParquetSource(kind="parquet", path="a.parquet")


@pytest.mark.parametrize(
    "kind", ["csv", "sql", "int64", "uint64", "decimal", "text", "dictionary", "bytes"]
)
def test_every_source_returns_the_same_identifiers(make_project, kind):
    project = make_project()
    frame = read_source(written(project.root, kind), project, {"id"}).frame
    assert frame["id"].isna().tolist() == [place == 10 for place in range(50)]
    assert frame["id"].dropna().tolist() == [name for place, name in enumerate(IDS) if place != 10]


def test_inexact_float_identifiers_are_refused_with_the_column(make_project):
    project = make_project()
    frame = pd.DataFrame({"id": [float(BIG), float(BIG + 2)]})
    frame.to_parquet(project.root / "a.parquet")
    with pytest.raises(UsageError, match="column 'id' holds 9007199254740992 as a floating-point"):
        read_source(ParquetSource(kind="parquet", path="a.parquet"), project, {"id"})


def test_a_column_of_an_unsupported_type_is_left_out_or_refused(make_project):
    project = make_project()
    table = pa.table({"id": ["a"], "x": [1.0], "bag": [[1, 2]], "raw": pa.array([b"\xff"])})
    pq.write_table(table, project.root / "a.parquet")
    source = ParquetSource(kind="parquet", path="a.parquet")
    rows = read_source(source, project, {"id"})
    assert list(rows.frame) == ["id", "x"]
    assert [note.split(" (")[0] for note in rows.notes] == ["column 'bag'", "column 'raw'"]
    with pytest.raises(UsageError, match="column 'bag' holds list"):
        read_source(source, project, {"id", "bag"})
    with pytest.raises(UsageError, match="column 'raw' holds bytes"):
        read_source(source, project, {"id", "raw"})


def test_duplicate_column_names_are_refused(make_project):
    project = make_project()
    written(project.root, "sql")
    query = "select a.id, b.id from t a join t b on a.id = b.id"
    source = SqlSource(kind="sql", url="sqlite:///a.db", query=query)
    with pytest.raises(UsageError, match=r"more than one column 'id'.*select a\.id as"):
        read_source(source, project, {"id"})


def test_blanks_around_text_are_stripped_and_counted(make_project):
    project = make_project()
    (project.root / "a.csv").write_text(
        "id,x\npro,1\npro ,2\n pro\u00a0,3\n\ufeffpro\u200b,4\n  ,5\n", encoding="utf-8"
    )
    rows = read_source(CsvSource(kind="csv", path="a.csv"), project, {"id"})
    assert rows.frame["id"].fillna("?").tolist() == ["pro"] * 4 + ["?"]
    assert rows.notes == ("blanks around values of 'id' are removed in 4 rows",)
