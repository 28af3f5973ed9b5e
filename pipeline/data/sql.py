"""Reads the result of a SQL query; the password comes from the environment and is never shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from pipeline.config import SqlSource
from pipeline.errors import EnvironmentFault, UsageError

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import URL

PLACE = "{password}"


def read_sql(
    source: SqlSource, root: Path, environment: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Run the query of a SQL source and return its rows.

    A SQLite file is looked for relative to ``root``, opened read-only and never created.

    Raises:
        UsageError: the URL is malformed, holds a password, or its driver is not installed; the
            variable that ``password_env`` names is not set; the query is wrong or gives no rows.
        EnvironmentFault: the database cannot be reached or read, or refuses the query.
    """
    import pandas as pd
    import sqlalchemy
    from sqlalchemy import exc

    secret = _password(source, os.environ if environment is None else environment)
    url = _url(source, secret, root)
    shown = sqlalchemy.make_url(source.url).render_as_string(hide_password=True)
    try:
        engine = sqlalchemy.create_engine(url)
    except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
        raise UsageError(f"data source {shown}: {_without(secret, error)}") from None
    try:
        with engine.connect() as connection:
            return pd.read_sql_query(sqlalchemy.text(source.query), connection)
    except (exc.SQLAlchemyError, OSError) as error:
        if _is_the_querys(error):
            raise UsageError(
                f"data.source.query: {_without(secret, _root(error))}",
                expected="a query that gives rows",
            ) from None
        raise EnvironmentFault(
            f"database {shown} cannot be read: {_without(secret, _root(error))}",
            hint="look at data.source.url and query, and whether the database answers",
        ) from None
    finally:
        engine.dispose()


def _password(source: SqlSource, environment: Mapping[str, str]) -> str:
    if source.password_env is None:
        if PLACE in source.url:
            raise UsageError(
                f"data.source.url has {PLACE} and password_env is not set",
                expected="the name of the environment variable that holds the password",
            )
        return ""
    secret = environment.get(source.password_env, "")
    if not secret:
        raise UsageError(
            f"environment variable {source.password_env} is not set",
            expected="the password of data.source",
        )
    return secret


def _url(source: SqlSource, secret: str, root: Path) -> URL:
    from sqlalchemy import exc, make_url

    try:
        if make_url(source.url.replace(PLACE, "")).password:
            raise UsageError(
                "data.source.url holds a password",
                expected=f"{PLACE} in its place, and password_env",
            )
        url = make_url(source.url.replace(PLACE, quote_plus(secret)))
    except (exc.ArgumentError, ValueError):
        raise UsageError(
            "data.source.url is not a database URL",
            expected="for example postgresql+psycopg://reader:{password}@host/database",
        ) from None
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return url
    path = root / url.database
    if not path.is_file():
        raise EnvironmentFault(f"database {path} does not exist")
    return url.set(database=f"file:{quote_path(path)}", query={"mode": "ro", "uri": "true"})


def quote_path(path: Path) -> str:
    """Return an absolute path as SQLite's URI file names spell it."""
    from urllib.parse import quote

    return quote(str(path.absolute()))


def _root(error: BaseException) -> BaseException:
    """Return the driver's own error: what wraps it repeats the query and its parameters."""
    inner = getattr(error, "orig", None) or error.__cause__
    return error if inner is None else _root(inner)


def _is_the_querys(error: BaseException) -> bool:
    """Tell whether the query is at fault, so that running it again would not help."""
    from sqlalchemy import exc

    cause = error if isinstance(error, exc.SQLAlchemyError) else error.__cause__  # pandas wraps it
    unsent = isinstance(cause, exc.StatementError) and not isinstance(cause, exc.DBAPIError)
    return unsent or isinstance(cause, exc.ProgrammingError | exc.ResourceClosedError)


def _without(secret: str, error: Any) -> str:
    text = " ".join(str(error).split())
    for form in {secret, quote_plus(secret)} - {""}:
        text = text.replace(form, "***")
    return text[:300]
