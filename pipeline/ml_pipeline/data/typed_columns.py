"""Conversion of columns to their four kinds; unreadable cells become missing."""

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
"""What may follow a day: a database or a spreadsheet wrote it as a moment."""
LARGEST = 3.4028234663852886e38
"""Of a float32."""
TRUTH = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}


def to_types(frame: pd.DataFrame, columns: Iterable[Column]) -> pd.DataFrame:
    """Return the frame with its columns typed by kind; other columns stay as they are.

    date becomes datetime64[us], number and integer become float64, text becomes str.
    """
    typed = {}
    for column in columns:
        if column.name not in frame.columns:
            continue
        given = frame[column.name]
        match column.kind:
            case "date":
                typed[column.name] = as_dates(given)
            case "text":
                typed[column.name] = as_text(given)
            case _:
                typed[column.name] = as_numbers(given)
    return frame.assign(**typed)


def as_dates(column: pd.Series) -> pd.Series:
    """Return days as datetime64[us]; NaT for text that is not ``%Y-%m-%d`` and for times of day.

    Midnight, with or without a zone, is no time of day: ``2024-01-05 00:00:00+05:45`` is a day.

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
    """Tell whether :func:`as_dates` reads a text."""
    import numpy as np

    return not np.isnat(_day(written))


def as_numbers(column: pd.Series) -> pd.Series:
    """Return float64; NaN for what no float32 holds, which models read. True is 1, False is 0."""
    import numpy as np
    import pandas as pd

    if column.dtype.kind in "mM":
        return pd.Series(np.nan, index=column.index)
    numbers = column
    if not pd.api.types.is_numeric_dtype(column.dtype):
        numbers = pd.to_numeric(_without_words(column), errors="coerce")
    values = numbers.to_numpy(dtype="float64", na_value=np.nan)
    usable = np.abs(values) <= LARGEST
    if not usable.all():
        values = np.where(usable, values, np.nan)
    return pd.Series(values, index=column.index)


def _without_words(column: pd.Series) -> pd.Series:
    """Return a column of booleans, as such or as words, as 1 and 0; any other as it is."""
    import pandas as pd

    codes, distinct = pd.factorize(column)
    values = [TRUTH.get(str(value).strip().lower()) for value in distinct]
    if None in values:
        return column
    return pd.Series([*values, None], dtype="float64").iloc[codes].set_axis(column.index)


def as_text(column: pd.Series) -> pd.Series:
    """Return text; whole numbers that a source holds as floats lose their ``.0``.

    Sources give identifiers as text already: a float is exact up to 2^53 only.
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
