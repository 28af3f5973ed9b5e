"""Reads CSV files, plain or gzip, and says in one line what is wrong with one."""

from __future__ import annotations

import csv
import gzip
import warnings
import zlib
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import Refused, UsageError

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = (",", ";", "\t", "|")
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""What stands for a missing number. In a text column only the empty field is missing."""


def read_csv(path: Path, separator: str, text: Collection[str] = ()) -> pd.DataFrame:
    """Read a CSV file with a header; columns named in ``text`` stay as they are written.

    Numbers are parsed exactly, so that the same data gives the same bits from any source.

    Raises:
        UsageError: the file is missing, is not UTF-8, is not gzip though it is called so, has
            another separator, two columns of one name, or rows longer than its header.
        Refused: the file is empty.
    """
    import pandas as pd

    header = _header(path, separator)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            return pd.read_csv(
                path,
                sep=separator,
                encoding="utf-8-sig",
                index_col=False,
                dtype={name: "str" for name in header if name in text},
                keep_default_na=False,
                na_values={name: [""] if name in text else list(MISSING) for name in header},
                low_memory=False,
            )
    except UnicodeDecodeError as error:
        raise _undecodable(path, error) from None
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as error:
        longer = isinstance(error, pd.errors.ParserWarning)
        reason = "its rows are longer than its header" if longer else error
        raise UsageError(
            f"{path} is not a CSV file: {reason}",
            expected=f"rows of {len(header)} fields separated by {separator!r}",
        ) from None


def _header(path: Path, separator: str) -> list[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
            names = next(csv.reader(stream, delimiter=separator), [])
    except UnicodeDecodeError as error:
        raise _undecodable(path, error) from None
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        raise _unreadable(path, error) from None
    if not names:
        raise Refused(f"{path} is empty", expected="a header and rows")
    if len(names) == 1:
        others = [other for other in SEPARATORS if other != separator and other in names[0]]
        if others:
            raise UsageError(
                f"{path} has one column, {names[0][:80]!r}",
                expected=f"columns separated by {separator!r}",
                hint=f"set separator to {others[0]!r} beside its path",
            )
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise UsageError(f"{path} has more than one column '{twice[0]}'", expected="one of a name")
    return names


def _undecodable(path: Path, error: UnicodeDecodeError) -> UsageError:
    return UsageError(
        f"{path} is not UTF-8 text: byte 0x{error.object[error.start]:02x} cannot be decoded",
        hint="write it as UTF-8, or gzip it and name it .csv.gz",
    )


def _unreadable(path: Path, error: Exception) -> UsageError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UsageError(f"cannot read {path}: {reason or type(error).__name__}")
