"""Reading and writing of Parquet files, with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.core.errors import PipelineError, UsageError
from ml_pipeline.core.workdir import atomic_path

if TYPE_CHECKING:
    import pandas as pd


def read(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the rows of a Parquet file.

    Args:
        path: the file, or a folder of Parquet files.
        columns: names of the columns to read; None for all.

    Raises:
        UsageError: it cannot be read, or is not a Parquet file that pandas supports.
    """
    import pandas as pd

    with errors_naming(path):
        return pd.read_parquet(path, columns=None if columns is None else list(columns))


@contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """Translate every error in the block into a UsageError that names the file."""
    if not path.exists():
        raise UsageError(
            f"cannot read {path}: No such file or directory", expected="a Parquet file"
        )
    if not path.is_file() and not path.is_dir():
        raise UsageError(f"{path} is not a regular file", expected="a Parquet file")
    if path.is_dir() and not any(path.rglob("*.parquet")):
        raise UsageError(f"{path} is a folder without Parquet files", expected="a Parquet file")
    try:
        yield
    except PipelineError:
        raise
    except OSError as error:
        reason = error.strerror or _first_line(error)
        raise UsageError(f"cannot read {path}: {reason}", expected="a Parquet file") from None
    except Exception as error:  # noqa: BLE001  pyarrow and pandas raise many types for damaged bytes
        reason = _first_line(error)
        raise UsageError(f"cannot read {path}: {reason}", expected="a Parquet file") from None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def write(path: Path, frame: pd.DataFrame) -> Path:
    """Write a frame; a column of several types, such as numbers and words, is written as text."""
    mixed = [name for name in frame.columns if frame[name].dtype == object]
    with atomic_path(path) as temporary:
        frame.astype(dict.fromkeys(mixed, "str")).to_parquet(temporary, index=False)
    return path
