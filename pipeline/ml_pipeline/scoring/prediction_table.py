"""Predictions in a database table, for PostgreSQL and SQLite.

One row for each key and bundle. All changes are made in one transaction: readers see the table
before or after it, and a killed run changes nothing. Concurrent runs are serialised by a lock.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.errors import UsageError
from ml_pipeline.data.sql import Database
from ml_pipeline.scoring.predictions import AT, DIGEST, VERSION, Predictions

if TYPE_CHECKING:
    from sqlalchemy import Connection, Executable, Table

NAME = re.compile(r"(?:([A-Za-z_][A-Za-z0-9_]{0,62})\.)?([A-Za-z_][A-Za-z0-9_]{0,62})")
DIALECTS = ("postgresql", "sqlite")
TOLERANCE = 1e-6
"""Largest difference of equal probabilities, since machines round differently; for regression it is
relative to the new value."""
CHUNK = 10_000
"""Rows of one statement."""


def write_table(predictions: Predictions, database: Database, name: str, root: Path) -> int:
    """Insert new rows, update changed ones, and return the number of both.

    The table is created if it does not exist: the key columns (day as date, entity as text),
    those of the model's task (``probability``, double precision, for a binary classifier),
    ``model_version`` (integer), ``bundle_digest`` (text) and ``scored_at`` (timestamp with time
    zone); its primary key is the key columns and ``bundle_digest``.

    Args:
        predictions: with a time or an entity as their key, one row each.
        database: where the table is.
        name: ``TABLE`` or ``SCHEMA.TABLE``.
        root: a SQLite file is relative to it.

    Raises:
        UsageError: the name or an existing table is invalid, the database is of another kind, or
            as in ``Database.open``.
        EnvironmentFault: the database does not respond, or refuses.
    """
    with database.open(root, writable=True) as engine:
        if engine.dialect.name not in DIALECTS:
            raise UsageError(
                f"{database.key} is a {engine.dialect.name} database",
                expected=" or ".join(DIALECTS),
            )
        with engine.connect() as plain, plain.begin():
            connection = plain.execution_options(preserve_rowcount=True)
            _lock_table(connection, name)
            table = _table(connection, predictions, name)
            statement = _upsert(engine.dialect.name, table, predictions)
            rows, written = _rows(predictions), 0
            for start in range(0, len(rows), CHUNK):
                written += connection.execute(statement, rows[start : start + CHUNK]).rowcount
            return written


def check_name(name: str) -> None:
    """Raise UsageError unless this is ``TABLE`` or ``SCHEMA.TABLE``."""
    if not NAME.fullmatch(name):
        raise UsageError(f"--out sql:{name}", expected="sql:TABLE or sql:SCHEMA.TABLE")


def _lock_table(connection: Connection, name: str) -> None:
    """Block other runs until this transaction ends."""
    from sqlalchemy import func, select

    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"ml-pipeline:{name}"))))


def _table(connection: Connection, predictions: Predictions, name: str) -> Table:
    """Return the table; create it if it does not exist.

    Raises:
        UsageError: it exists with other columns or another primary key.
    """
    import sqlalchemy as sa

    match = NAME.fullmatch(name)
    assert match is not None
    schema, bare = match.groups()
    keys = [
        sa.Column(column, sa.Date() if column == predictions.time else sa.Text())
        for column in predictions.key
    ]
    table = sa.Table(
        bare,
        sa.MetaData(),
        *keys,
        *(
            sa.Column(column, sa.Double() if kind == "number" else sa.Text(), nullable=False)
            for column, kind in predictions.task.score_columns.items()
        ),
        sa.Column(VERSION, sa.Integer()),
        sa.Column(DIGEST, sa.Text(), nullable=False),
        sa.Column(AT, sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(*predictions.key, DIGEST),
        schema=schema,
    )
    inspector = sa.inspect(connection)
    if not inspector.has_table(bare, schema=schema):
        table.create(connection)
        return table
    columns = {column["name"] for column in inspector.get_columns(bare, schema=schema)}
    if missing := [column.name for column in table.columns if column.name not in columns]:
        raise UsageError(
            f"table {name} has no column '{missing[0]}'",
            expected=f"{', '.join([*predictions.key, *predictions.columns])}, or no such table",
        )
    primary = inspector.get_pk_constraint(bare, schema=schema)["constrained_columns"]
    if set(primary) != {*predictions.key, DIGEST}:
        raise UsageError(
            f"table {name} has the primary key ({', '.join(primary)})",
            expected=f"({', '.join([*predictions.key, DIGEST])})",
        )
    return table


def _upsert(dialect: str, table: Table, predictions: Predictions) -> Executable:
    """Return the statement that inserts a row, or updates an existing one that differs."""
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql, sqlite

    module: Any = postgresql if dialect == "postgresql" else sqlite
    insert = module.insert(table)
    inserted, existing = insert.excluded, table.columns
    statement: Executable = insert.on_conflict_do_update(
        index_elements=[*predictions.key, DIGEST],
        set_={name: inserted[name] for name in (*predictions.task.score_columns, VERSION, AT)},
        where=sa.or_(
            *_differs(existing, inserted, predictions),
            existing[VERSION].is_distinct_from(inserted[VERSION]),
        ),
    )
    return statement


def _differs(existing: Any, inserted: Any, predictions: Predictions) -> list[Any]:
    """Return the conditions under which a prediction differs from the existing one."""
    import sqlalchemy as sa

    conditions = []
    for column, kind in predictions.task.score_columns.items():
        if kind == "text":
            conditions.append(existing[column].is_distinct_from(inserted[column]))
            continue
        limit: Any = TOLERANCE
        if predictions.task.objective.kind == "regression":
            limit = TOLERANCE * sa.func.abs(inserted[column])
        conditions.append(sa.func.abs(existing[column] - inserted[column]) > limit)
    return conditions


def _rows(predictions: Predictions) -> list[dict[str, Any]]:
    table = predictions.table
    columns: dict[str, list[Any]] = {}
    for name in table.columns:
        values = table[name]
        if name == predictions.time:
            columns[name] = [moment.date() for moment in values]
        elif name == AT:
            columns[name] = [moment.to_pydatetime() for moment in values]
        elif name == VERSION:
            columns[name] = values.astype(object).where(values.notna(), None).tolist()
        else:
            columns[name] = values.tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
