"""Conversion of columns to their kinds; cells that cannot be parsed become missing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.problem import Column

DATE_FORMAT = "%Y-%m-%d"
DAY = 86_400_000_000
"""Microseconds."""
MIDNIGHT = re.compile(r"[ T]00:00(:00(\.0+)?)?( ?(Z|UTC|[+-]\d\d:?(\d\d)?))?")
"""Time of day that may follow a date that a database or spreadsheet wrote as a timestamp."""
LARGEST = 3.4028234663852886e38
"""The largest float32."""
TRUTH = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}


def to_types(frame: pd.DataFrame, columns: Iterable[Column]) -> pd.DataFrame:
    """Return the frame with its columns typed by kind; other columns stay as they are.

    date becomes datetime64[us], number and integer become float64, text becomes str.
    """
    typed = {}
    for column in columns:
        if column.name not in frame.columns:
            continue
        values = frame[column.name]
        match column.kind:
            case "date":
                typed[column.name] = as_dates(values)
            case "text":
                typed[column.name] = as_text(values)
            case _:
                typed[column.name] = as_numbers(values)
    return frame.assign(**typed)


def as_dates(column: pd.Series) -> pd.Series:
    """Return days as datetime64[us]; NaT for text that is not ``%Y-%m-%d`` and for times of day.

    A time of midnight, with or without a zone, is accepted: ``2024-01-05 00:00:00+05:45``.

    Only distinct values are parsed: a million daily bars hold a few thousand dates.
    """
    import numpy as np
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        moments = column.dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
        timed = moments.view("i8") % DAY != 0
        if timed.any():
            moments = np.where(timed, np.datetime64("NaT"), moments)
        return pd.Series(moments, index=column.index)
    codes, distinct = pd.factorize(column)
    parsed = [*(_day(value) for value in distinct), np.datetime64("NaT")]
    days: NDArray[np.datetime64] = np.array(parsed, dtype="datetime64[us]")[codes]
    return pd.Series(days, index=column.index)


def is_day(written: str) -> bool:
    """Return whether :func:`as_dates` parses a text."""
    import numpy as np

    return not np.isnat(_day(written))


def as_numbers(column: pd.Series) -> pd.Series:
    """Return float64, with NaN beyond the range of float32, which models read; True is 1."""
    import numpy as np
    import pandas as pd

    if column.dtype.kind in "mM":
        return pd.Series(np.nan, index=column.index)
    numbers = column
    if not pd.api.types.is_numeric_dtype(column.dtype):
        numbers = pd.to_numeric(_booleans_as_numbers(column), errors="coerce")
    values = numbers.to_numpy(dtype="float64", na_value=np.nan)
    usable = np.abs(values) <= LARGEST
    if not usable.all():
        values = np.where(usable, values, np.nan)
    return pd.Series(values, index=column.index)


def _booleans_as_numbers(column: pd.Series) -> pd.Series:
    """Return a column of booleans, or of true and false as text, as 1 and 0; others unchanged."""
    import pandas as pd

    codes, distinct = pd.factorize(column)
    values = [TRUTH.get(str(value).strip().lower()) for value in distinct]
    if None in values:
        return column
    return pd.Series([*values, None], dtype="float64").iloc[codes].set_axis(column.index)


def as_text(column: pd.Series) -> pd.Series:
    """Return text; a column of integral floats loses its ``.0``.

    Sources return identifiers as text: a float is exact only up to 2^53.
    """
    import pandas as pd

    if pd.api.types.is_float_dtype(column.dtype):
        known = column.dropna()
        if bool((known == known.round()).all()):
            column = column.map(lambda number: f"{number:.0f}", na_action="ignore")
    text: pd.Series = column.astype("str")
    return text


@lru_cache(maxsize=1 << 16)
def _day(value: Any) -> Any:
    import numpy as np

    if isinstance(value, str):
        if len(value) > len("2024-01-05") and MIDNIGHT.fullmatch(value, len("2024-01-05")):
            value = value[: len("2024-01-05")]
        try:
            return np.datetime64(datetime.strptime(value, DATE_FORMAT), "us")  # noqa: DTZ007  days have no zone
        except ValueError:
            return np.datetime64("NaT")
    if isinstance(value, datetime):
        value = value.replace(tzinfo=None)
        return np.datetime64(value if value == datetime(*value.timetuple()[:3]) else "NaT", "us")  # noqa: DTZ001  days have no zone
    return np.datetime64(value if isinstance(value, date) else "NaT", "us")
