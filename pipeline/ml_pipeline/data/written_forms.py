"""Parsing of numbers and dates by the formats that a source's configuration sets."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import WrittenForms
from ml_pipeline.core.whitespace import BLANKS
from ml_pipeline.data.typed_columns import DATE_FORMAT, is_day

if TYPE_CHECKING:
    import pandas as pd

EPOCH_OF_EXCEL = date(1899, 12, 30)
LAST_OF_EXCEL = 2_958_465
DIGIT_GAPS = " \u00a0\u2009\u202f"
"""Blanks that separate groups of digits."""


def apply_forms(
    frame: pd.DataFrame, forms: WrittenForms, text: Collection[str], dates: Collection[str]
) -> pd.DataFrame:
    """Return the frame with missing values, dates and numbers parsed by the configured formats.

    Cells without the format stay text, for the data tests to report; the other cells of their
    column are then text in the default format. A date in the default format instead of the
    configured one is marked by :func:`with_expected_form`, so that no other format parses it.

    Args:
        frame: the values of the source.
        forms: the configured formats.
        text: columns that are not numeric; may include ``dates``.
        dates: columns of dates.
    """
    read = {}
    for name in frame.columns:
        column = _without_markers(frame[name], forms.na_values)
        if name in dates:
            if forms.date_format not in (None, DATE_FORMAT):
                column = days_of(column, forms.date_format)
        elif name not in text and _is_text(column):
            column = numbers_of(column, forms.decimal, forms.thousands)
        read[name] = column
    return frame.assign(**read)


def numbers_of(column: pd.Series, decimal: str, thousands: str | None) -> pd.Series:
    """Return float64 where every value has the format, else text."""
    if decimal == "." and thousands is None:
        return column
    form = number_form(decimal, thousands)
    gaps = re.compile(f"[{re.escape(_group(thousands))}]") if thousands else None

    def read(value: Any) -> float | None:
        written = str(value).strip(BLANKS).replace("\u2212", "-")
        if form.fullmatch(written) is None:
            return None
        plain = gaps.sub("", written) if gaps else written
        return float(plain.replace(decimal, "."))

    return _read_distinct(column, read, repr, numeric=True)


def number_form(decimal: str, thousands: str | None) -> re.Pattern[str]:
    """Return the pattern of a number; groups have three digits, or two as in 1,23,456."""
    whole = r"\d+"
    if thousands:
        group = f"[{re.escape(_group(thousands))}]"
        whole = rf"(?:\d{{1,3}}(?:{group}\d{{2,3}})*{group}\d{{3}}|\d+)"
    mark = re.escape(decimal)
    return re.compile(rf"[-+]?(?:{whole}(?:{mark}\d*)?|{mark}\d+)(?:[eE][-+]?\d+)?", re.ASCII)


def days_of(column: pd.Series, form: str) -> pd.Series:
    """Return dates as YYYY-MM-DD where values have the format, and other values as text."""

    def read(value: Any) -> date | None:
        return day_of(value, form)

    def keep(value: Any) -> str:
        written = str(value)
        return with_expected_form(written, form) if is_day(written) else written

    return _read_distinct(column, read, date.isoformat, keep=keep, numeric=False)


def with_expected_form(written: str, form: str) -> str:
    """Return a date as written, with the configured format that it does not have."""
    return f"{written} (not {form})"


def day_of(value: Any, form: str) -> date | None:
    """Return the date of a value, or None; for a timestamp, the date in its own time zone."""
    if isinstance(value, datetime):
        return None if value != value else value.date()  # noqa: PLR0124  NaT
    if isinstance(value, date):
        return value
    written = str(value).strip(BLANKS)
    try:
        if form == "excel":
            serial = float(written)
            inside = 1 <= serial <= LAST_OF_EXCEL + 1
            return EPOCH_OF_EXCEL + timedelta(days=int(serial)) if inside else None
        if form in ("unix", "unix_ms"):
            seconds = float(written) / (1000 if form == "unix_ms" else 1)
            return datetime.fromtimestamp(seconds, UTC).date()
        whole = written.removesuffix(".0") if written.replace(".", "", 1).isdigit() else written
        return datetime.strptime(whole, form).date()  # noqa: DTZ007  days have no zone
    except (ValueError, OverflowError, OSError):
        return None


def _read_distinct(
    column: pd.Series, read: Any, write: Any, *, keep: Any = str, numeric: bool
) -> pd.Series:
    """Parse each distinct value once; return text where some do not have the format."""
    import numpy as np
    import pandas as pd

    codes, distinct = pd.factorize(column)
    values = [read(value) for value in distinct]
    if numeric and all(value is not None for value in values):
        return pd.Series(np.array([*values, np.nan])[codes], index=column.index)
    written = [
        keep(raw) if value is None else write(value)
        for raw, value in zip(distinct, values, strict=True)
    ]
    taken = np.array([*written, None], dtype=object)[codes]
    return pd.Series(taken, index=column.index, dtype="str")


def _without_markers(column: pd.Series, markers: Collection[str]) -> pd.Series:
    import pandas as pd

    if not markers:
        return column
    known = {*markers}
    if _is_text(column):
        hit = column.map(lambda value: isinstance(value, str) and value.strip(BLANKS) in known)
    elif pd.api.types.is_numeric_dtype(column.dtype) and column.dtype != bool:
        numbers = pd.to_numeric(pd.Series([*known]), errors="coerce").dropna()
        hit = column.isin(numbers.tolist())
    else:
        return column
    return column.mask(hit.astype(bool)) if hit.any() else column


def _group(thousands: str) -> str:
    if thousands == " ":
        return DIGIT_GAPS
    return "'\u2019" if thousands in "'\u2019" else thousands


def _is_text(column: pd.Series) -> bool:
    import pandas as pd

    return pd.api.types.is_string_dtype(column.dtype) or column.dtype == object
