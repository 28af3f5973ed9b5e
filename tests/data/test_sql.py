from __future__ import annotations

import sqlite3

import pytest
from ml_pipeline.config import SqlSource
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.data.sql import read_sql

SECRET = "p@ss/w:rd"


def source(url: str, query: str = "select * from sales", **more: str) -> SqlSource:
    return SqlSource(kind="sql", url=url, query=query, **more)


@pytest.fixture
def database(tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("create table sales (shop text, day text, sales real)")
        connection.execute("insert into sales values ('a', '2024-01-01', 1.5), ('b', null, null)")
    connection.close()
    return tmp_path


def test_the_path_of_a_sqlite_file_is_relative_to_the_project(database):
    frame = read_sql(source("sqlite:///shop.db", "select shop, sales from sales"), database)
    assert frame["shop"].tolist() == ["a", "b"]
    assert frame["sales"].isna().tolist() == [False, True]


def test_a_query_cannot_write(database):
    with pytest.raises(UsageError, match="readonly database"):
        read_sql(source("sqlite:///shop.db", "delete from sales returning shop"), database)
    assert len(read_sql(source("sqlite:///shop.db"), database)) == 2


def test_a_missing_database_is_not_created(tmp_path):
    with pytest.raises(EnvironmentFault, match="does not exist"):
        read_sql(source("sqlite:///shop.db"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_database_and_an_unknown_table_are_refused(database):
    (database / "text.db").write_text("this is no database, and it is long enough to be read" * 20)
    with pytest.raises(EnvironmentFault, match="not a database"):
        read_sql(source("sqlite:///text.db"), database)
    with pytest.raises(UsageError, match="no such table"):
        read_sql(source("sqlite:///shop.db", "select * from nowhere_at_all"), database)


@pytest.mark.parametrize("query", ["-- nothing", "select :day from sales"])
def test_an_invalid_query_is_a_usage_error(database, query):
    with pytest.raises(UsageError, match=r"data\.source\.query"):
        read_sql(source("sqlite:///shop.db", query), database)


def test_a_password_comes_from_the_environment_and_is_in_no_message(tmp_path):
    asked = source("sqlite://reader:{password}@nowhere/shop.db", password_env="SHOP_PASSWORD")
    with pytest.raises((EnvironmentFault, UsageError)) as caught:
        read_sql(asked, tmp_path, {"SHOP_PASSWORD": SECRET})
    assert SECRET not in str(caught.value)
    assert "p%40ss" not in str(caught.value)
    assert SECRET not in repr(caught.value.__cause__)


@pytest.mark.parametrize(
    ("url", "env", "message"),
    [
        ("postgresql://reader:hunter2@host/db", None, "holds a password"),
        ("postgresql://reader:{password}@host/db", None, "password_env is not set"),
        ("postgresql://reader:{password}@host/db", "SHOP_PASSWORD", "SHOP_PASSWORD is not set"),
        ("not a url", None, "is not a database URL"),
        ("nosuchkind://host/db", None, "nosuchkind"),
    ],
)
def test_a_wrong_url_is_a_usage_error_without_its_password(tmp_path, url, env, message):
    with pytest.raises(UsageError) as caught:
        read_sql(source(url, password_env=env), tmp_path, {})
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("delete from bars", "readonly database"),
        ("select high from bars", "no such column: high"),
        ("select * frm bars", "syntax error"),
        ("select ':x' from bars", r"bind parameter 'x'.*write \\: for a colon"),
    ],
)
def test_a_wrong_query_is_a_usage_error_that_names_its_key(tmp_path, query, message):
    import sqlite3

    with sqlite3.connect(tmp_path / "bars.db") as connection:
        connection.execute("create table bars (close real)")
    connection.close()
    source = SqlSource(kind="sql", url="sqlite:///bars.db", query=query)
    with pytest.raises(UsageError, match=message):
        read_sql(source, tmp_path)
