"""Identifiers and categories as exact text, without a conversion to float."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

EXACT_FLOAT_LIMIT = 2**53
"""A float64 represents every integer below this exactly."""


def texts(name: str, values: Sequence[Any]) -> list[str | None]:
    """Return Python values as text; None and NaN are missing.

    Whole numbers are written without a decimal point where all numbers of the column are whole.

    Raises:
        UsageError: floats of 2^53 or more, which are not exact, or bytes that are not UTF-8.
    """
    fractions = [value for value in values if isinstance(value, float | Decimal)]
    whole = all(value == value.to_integral_value() for value in map(_decimal, fractions) if value)
    return [_text(name, value, whole=whole) for value in values]


def arrow_texts(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return an Arrow column as text where its type is a number, bytes or a dictionary."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_integer(kind):
        return pc.cast(column, pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return pc.cast(column, pa.string())
        except pa.ArrowInvalid:
            raise _not_text(name) from None
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.chunked_array([pa.array(texts(name, column.to_pylist()), pa.string())])
    return column


def _decimal(value: float | Decimal) -> Decimal | None:
    number = Decimal(value)
    return number if number.is_finite() else None


def _text(name: str, value: Any, *, whole: bool) -> str | None:
    if value is None or value != value:  # noqa: PLR0124  NaN differs from itself
        return None
    if isinstance(value, float):
        if abs(value) >= EXACT_FLOAT_LIMIT and Decimal(value).is_finite():
            raise UsageError(
                f"column '{name}' holds {value:.17g} as a floating-point number, which is not "
                "exact beyond 2^53",
                expected="identifiers as integers or text",
                hint="cast the column where it is written or queried",
            )
        return f"{value:.0f}" if whole else str(value)
    if isinstance(value, Decimal):
        return f"{value:.0f}" if whole and value.is_finite() else format(value, "f")
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise _not_text(name) from None
    return str(value)


def _not_text(name: str) -> UsageError:
    return UsageError(
        f"column '{name}' holds bytes that are not UTF-8 text",
        expected="text or numbers",
        hint="write it as text, for example in hexadecimal",
    )
