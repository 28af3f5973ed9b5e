"""Predictions in a database table, for PostgreSQL and SQLite.

One row for each key and bundle. Everything happens in one transaction: a reader sees the table as
it was or as it will be, and what is killed on the way leaves it as it was. Runs that write into
one table follow one another.
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
"""A probability that moved by no more is the same: machines round differently. Of other numbers it
is a share of the larger one."""
CHUNK = 10_000
"""Rows that are sent at a time."""


def write_table(predictions: Predictions, database: Database, name: str, root: Path) -> int:
    """Insert what is new, update what changed, and return the number of both.

    The table is made if it is not there: the key columns (day as date, entity as text),
    those of the model's task (``probability``, double precision, for a binary classifier),
    ``model_version`` (integer), ``bundle_digest`` (text) and ``scored_at`` (timestamp with time
    zone); its primary key is the key columns and ``bundle_digest``.

    Args:
        predictions: with a time or an entity as their key, one row each.
        database: where the table is.
        name: ``TABLE`` or ``SCHEMA.TABLE``.
        root: a SQLite file is relative to it.

    Raises:
        UsageError: the name or an existing table is not of this form, the database is of another
            kind, or something of ``Database.open``.
        EnvironmentFault: the database does not answer, or refuses.
    """
    with database.open(root, writable=True) as engine:
        if engine.dialect.name not in DIALECTS:
            raise UsageError(
                f"{database.key} is a {engine.dialect.name} database",
                expected=" or ".join(DIALECTS),
            )
        with engine.connect() as plain, plain.begin():
            connection = plain.execution_options(preserve_rowcount=True)
            _alone(connection, name)
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


def _alone(connection: Connection, name: str) -> None:
    """Hold back other runs until this transaction ends."""
    from sqlalchemy import func, select

    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"ml-pipeline:{name}"))))


def _table(connection: Connection, predictions: Predictions, name: str) -> Table:
    """Return the table, made if it was not there.

    Raises:
        UsageError: it is there with other columns or another primary key.
    """
    import sqlalchemy as sa

    found = NAME.fullmatch(name)
    assert found is not None
    schema, bare = found.groups()
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
    if lacking := [column.name for column in table.columns if column.name not in columns]:
        raise UsageError(
            f"table {name} has no column '{lacking[0]}'",
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
    """Return the statement that inserts a row, or updates one that is there and differs."""
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql, sqlite

    module: Any = postgresql if dialect == "postgresql" else sqlite
    insert = module.insert(table)
    given, kept = insert.excluded, table.columns
    statement: Executable = insert.on_conflict_do_update(
        index_elements=[*predictions.key, DIGEST],
        set_={name: given[name] for name in (*predictions.task.score_columns, VERSION, AT)},
        where=sa.or_(
            *_moved(kept, given, predictions),
            kept[VERSION].is_distinct_from(given[VERSION]),
        ),
    )
    return statement


def _moved(kept: Any, given: Any, predictions: Predictions) -> list[Any]:
    """Return the conditions by which a prediction differs from the one that is there."""
    import sqlalchemy as sa

    found = []
    for column, kind in predictions.task.score_columns.items():
        if kind == "text":
            found.append(kept[column].is_distinct_from(given[column]))
            continue
        limit: Any = TOLERANCE
        if predictions.task.objective.kind == "regression":
            limit = TOLERANCE * sa.func.abs(given[column])
        found.append(sa.func.abs(kept[column] - given[column]) > limit)
    return found


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
