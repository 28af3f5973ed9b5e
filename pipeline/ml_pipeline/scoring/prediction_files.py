"""Predictions as a Parquet or CSV file: written atomically, and only if something changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.workdir import atomic_path
from ml_pipeline.data import parquet
from ml_pipeline.scoring.predictions import AT

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.scoring.predictions import Predictions

ENDINGS = (".parquet", ".csv")


def write_file(predictions: Predictions, out: Path) -> int:
    """Write the file, and return the number of rows written: all, or 0 if it had them already.

    A file that differs only in the scoring time is not written.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    table = predictions.table
    try:
        if out.is_file() and _holds(out, table):
            return 0
        with atomic_path(out) as temporary:
            _write(table, temporary, out.suffix)
    except OSError as error:
        raise EnvironmentFault(f"cannot write {out}: {error.strerror or error}") from error
    return len(table)


def _write(table: pd.DataFrame, path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        path.write_text(_csv(table), encoding="utf-8")


def _csv(table: pd.DataFrame) -> str:
    shown = table.assign(**{AT: [moment.isoformat() for moment in table[AT]]})
    return shown.to_csv(index=False, date_format="%Y-%m-%d", lineterminator="\n")


def _holds(out: Path, table: pd.DataFrame) -> bool:
    """Return whether the file has this table, apart from the scoring time."""
    import pandas as pd

    try:
        if out.suffix == ".parquet":
            found = parquet.read(out)
            return bool(found.drop(columns=AT).equals(table.drop(columns=AT)))
        before = pd.Timestamp(pd.read_csv(out, usecols=[AT], nrows=1)[AT].iloc[0])
        return _csv(table.assign(**{AT: before})) == out.read_text(encoding="utf-8")
    except (ValueError, KeyError, IndexError, UsageError):
        return False
