"""The table on SQLite; tests/integration/test_postgres.py has the same on PostgreSQL."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.data.sql import Database
from ml_pipeline.scoring import prediction_table
from ml_pipeline.scoring.prediction_table import check_name, write_table

SCORES = Database("sqlite:///scores.db", None, "score")
ROWS = (("2024-01-01", "NABIL", 0.25), ("2024-01-01", "NICA", 0.5), ("2024-01-02", "NICA", 0.75))
LATER = datetime(2026, 5, 2, tzinfo=UTC)


def stored_rows(root: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(root / "scores.db")
    found = connection.execute("select * from scores order by 1, 2, 5").fetchall()
    connection.close()
    return found


def test_makes_the_table_with_a_row_for_each_key(tmp_path: Path, make_predictions: Any) -> None:
    assert write_table(make_predictions(*ROWS), SCORES, "scores", tmp_path) == 3
    assert [row[:4] for row in stored_rows(tmp_path)] == [
        ("2024-01-01", "NABIL", 0.25, 3),
        ("2024-01-01", "NICA", 0.5, 3),
        ("2024-01-02", "NICA", 0.75, 3),
    ]
    assert stored_rows(tmp_path)[0][4:] == ("a" * 64, "2026-05-01 12:00:00.000000")


def test_the_same_again_changes_nothing(tmp_path: Path, make_predictions: Any) -> None:
    write_table(make_predictions(*ROWS), SCORES, "scores", tmp_path)
    before = stored_rows(tmp_path)
    rounded = [(day, symbol, p + 1e-9) for day, symbol, p in ROWS]
    assert write_table(make_predictions(*rounded, at=LATER), SCORES, "scores", tmp_path) == 0
    assert stored_rows(tmp_path) == before


def test_what_is_new_or_changed_is_written(tmp_path: Path, make_predictions: Any) -> None:
    write_table(make_predictions(*ROWS), SCORES, "scores", tmp_path)
    changed = (ROWS[0], ("2024-01-01", "NICA", 0.51), ROWS[2], ("2024-01-03", "NICA", 0.1))
    assert write_table(make_predictions(*changed, at=LATER), SCORES, "scores", tmp_path) == 2
    assert [row[2] for row in stored_rows(tmp_path)] == [0.25, 0.51, 0.75, 0.1]
    assert ["02" in row[5][8:10] for row in stored_rows(tmp_path)] == [False, True, False, True]


def test_rows_of_several_versions_are_kept(tmp_path: Path, make_predictions: Any) -> None:
    write_table(make_predictions(*ROWS), SCORES, "scores", tmp_path)
    other = make_predictions(*ROWS, version=None, digest="b" * 64)
    assert write_table(other, SCORES, "scores", tmp_path) == 3
    assert [row[3] for row in stored_rows(tmp_path)] == [3, None] * 3


def test_a_bundle_that_got_its_number_later(tmp_path: Path, make_predictions: Any) -> None:
    write_table(make_predictions(*ROWS, version=None), SCORES, "scores", tmp_path)
    assert write_table(make_predictions(*ROWS, version=4), SCORES, "scores", tmp_path) == 3
    assert {row[3] for row in stored_rows(tmp_path)} == {4}


def test_an_interrupted_run_changes_nothing(
    tmp_path: Path, make_predictions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_table, "CHUNK", 2)
    bad = make_predictions(*ROWS)
    bad.table["probability"] = [0.25, 0.5, None]
    with pytest.raises(EnvironmentFault, match="NOT NULL"):
        write_table(bad, SCORES, "scores", tmp_path)
    connection = sqlite3.connect(tmp_path / "scores.db")
    assert connection.execute("select name from sqlite_master").fetchall() == []
    connection.close()


@pytest.mark.parametrize(
    ("ddl", "says"),
    [
        ("create table scores (date date, symbol text)", "no column 'probability'"),
        (
            """create table scores (date date, symbol text, probability real, model_version int,
            bundle_digest text, scored_at text, primary key (date, symbol))""",
            r"primary key \(date, symbol\); expected \(date, symbol, bundle_digest\)",
        ),
    ],
)
def test_a_table_with_other_columns_is_not_changed(
    tmp_path: Path, make_predictions: Any, ddl: str, says: str
) -> None:
    with sqlite3.connect(tmp_path / "scores.db") as connection:
        connection.execute(ddl)
    connection.close()
    with pytest.raises(UsageError, match=says):
        write_table(make_predictions(*ROWS), SCORES, "scores", tmp_path)
    connection = sqlite3.connect(tmp_path / "scores.db")
    assert connection.execute("select count(*) from scores").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("name", ["", "a b", "scores;drop", "a.b.c", "1st", 'x"y', "täble"])
def test_an_invalid_table_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="sql:TABLE"):
        check_name(name)


def test_an_unavailable_database_is_an_error(tmp_path: Path, make_predictions: Any) -> None:
    away = Database("postgresql+psycopg://scorer@127.0.0.1:1/scores", None, "score")
    with pytest.raises(EnvironmentFault, match=r"cannot be written.*refused"):
        write_table(make_predictions(*ROWS), away, "scores", tmp_path)
