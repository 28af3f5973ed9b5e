"""Database connections and queries; passwords come from the environment and are masked."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from ml_pipeline.config import SqlSource
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.extras import install_command
from ml_pipeline.data.exact_text import texts
from ml_pipeline.data.text_normalization import plain_name

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import URL, Engine

PLACEHOLDER = "{password}"
SQLITE_STATEMENT_ERROR = re.compile(
    r"^(no such (table|column|function)|ambiguous column|near .*syntax error)"
)
READ_ONLY = "attempt to write a readonly database"
"""SQLite reports both as operational errors, though the statement is wrong."""


@dataclass(frozen=True)
class Database:
    """The URL of a database, with its configuration ``key`` for messages.

    ``{password}`` in ``url`` stands for the value of the environment variable ``password_env``.
    """

    url: str
    password_env: str | None
    key: str = "data.source"

    @contextmanager
    def open(
        self, root: Path, environment: Mapping[str, str] | None = None, *, writable: bool = False
    ) -> Iterator[Engine]:
        """Yield an engine; errors of the database and its driver in the block are translated.

        The path of a SQLite file is relative to ``root``. Unless ``writable``, it is opened
        read-only and never created.

        Raises:
            UsageError: the URL is malformed, holds a password, or its driver is not installed;
                the variable that ``password_env`` names is not set; a statement is wrong or not
                permitted.
            EnvironmentFault: the database cannot be reached, or refuses a statement.
        """
        import sqlalchemy
        from sqlalchemy import exc

        secret = self._password(os.environ if environment is None else environment)
        url = self._url(secret, root, writable=writable)
        shown = sqlalchemy.make_url(self.url).render_as_string(hide_password=True)
        try:
            engine = sqlalchemy.create_engine(url)
        except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
            lacks_driver = isinstance(error, ImportError) and error.name == "psycopg"
            raise UsageError(
                f"data source {shown}: {_mask_secret(secret, error)}",
                hint=install_command("postgres") if lacks_driver else "",
            ) from None
        try:
            yield engine
        except (exc.SQLAlchemyError, OSError) as error:
            if _is_statement_error(error, writable=writable):
                what = "table" if writable else "query"
                raise UsageError(
                    f"{self.key}.{what}: {_mask_secret(secret, _driver_error(error))}",
                    expected="a table that can be written"
                    if writable
                    else "a query that returns rows",
                    hint="write \\: for a colon that is not a parameter"
                    if "bind parameter" in str(error)
                    else "",
                ) from None
            raise EnvironmentFault(
                f"database {shown} cannot be {'written' if writable else 'read'}: "
                f"{_mask_secret(secret, _driver_error(error))}",
                hint=f"check {self.key}, and that the database is running",
            ) from None
        finally:
            engine.dispose()

    def _password(self, environment: Mapping[str, str]) -> str:
        if self.password_env is None:
            if PLACEHOLDER in self.url:
                raise UsageError(
                    f"{self.key}.url has {PLACEHOLDER} and password_env is not set",
                    expected="the name of the environment variable that holds the password",
                )
            return ""
        secret = environment.get(self.password_env, "")
        if not secret:
            raise UsageError(
                f"environment variable {self.password_env} is not set",
                expected=f"the password of {self.key}",
            )
        return secret

    def _url(self, secret: str, root: Path, *, writable: bool) -> URL:
        from sqlalchemy import exc, make_url

        try:
            if make_url(self.url.replace(PLACEHOLDER, "")).password:
                raise UsageError(
                    f"{self.key}.url holds a password",
                    expected=f"{PLACEHOLDER} in its place, and password_env",
                )
            url = make_url(self.url.replace(PLACEHOLDER, quote_plus(secret)))
        except (exc.ArgumentError, ValueError):
            raise UsageError(
                f"{self.key}.url is not a database URL",
                expected="for example postgresql+psycopg://reader:{password}@host/database",
            ) from None
        if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
            return url
        path = root / url.database
        if writable:
            return url.set(database=str(path))
        if not path.is_file():
            raise EnvironmentFault(f"database {path} does not exist")
        return url.set(database=f"file:{quote_path(path)}", query={"mode": "ro", "uri": "true"})


def read_sql(
    source: SqlSource,
    root: Path,
    environment: Mapping[str, str] | None = None,
    *,
    text: Collection[str] = (),
) -> pd.DataFrame:
    """Run the query of a SQL source and return its rows. Raises what ``Database.open`` raises.

    Columns in ``text`` are converted from the driver's values: in a frame, a NULL among integers
    would make them floats.
    """
    import pandas as pd
    import sqlalchemy

    database = Database(source.url, source.password_env)
    with database.open(root, environment) as engine, engine.connect() as connection:
        result = connection.execute(sqlalchemy.text(source.query))
        names = [plain_name(name) for name in tuple(result.keys())]
        rows = [tuple(row) for row in result.fetchall()]
    frame = pd.DataFrame.from_records(rows, columns=range(len(names)), coerce_float=True)
    for place, name in enumerate(names):
        if name in text:
            values = texts(name, [row[place] for row in rows])
            frame[place] = pd.Series(values, index=frame.index, dtype="str")
    return frame.set_axis(names, axis=1)


def quote_path(path: Path) -> str:
    """Return an absolute path, quoted for a SQLite URI."""
    from urllib.parse import quote

    return quote(str(path.absolute()))


def _driver_error(error: BaseException) -> BaseException:
    """Return the driver's error: its wrappers repeat the query and its parameters."""
    inner = getattr(error, "orig", None) or error.__cause__
    return error if inner is None else _driver_error(inner)


def _is_statement_error(error: BaseException, *, writable: bool) -> bool:
    """Return whether the statement is wrong, so that a retry would not help."""
    from sqlalchemy import exc

    cause = error if isinstance(error, exc.SQLAlchemyError) else error.__cause__  # pandas wraps it
    unsent = isinstance(cause, exc.StatementError) and not isinstance(cause, exc.DBAPIError)
    wrong = isinstance(cause, exc.OperationalError) and bool(
        SQLITE_STATEMENT_ERROR.search(str(cause.orig))
        or (READ_ONLY in str(cause.orig) and not writable)
    )
    return unsent or wrong or isinstance(cause, exc.ProgrammingError | exc.ResourceClosedError)


def _mask_secret(secret: str, error: Any) -> str:
    text = " ".join(str(error).split())
    for form in {secret, quote_plus(secret)} - {""}:
        text = text.replace(form, "***")
    return text[:300]
