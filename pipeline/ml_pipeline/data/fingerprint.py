"""The digest of a clean frame, and its profile: statistics of each column."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def fingerprint(frame: pd.DataFrame) -> str:
    """Return the SHA-256, as hex, of a frame's column names, kinds and values in row order.

    Integers count as the float64 of the same value, every NaN and null as one missing value and
    -0.0 as 0.0, so that the digest does not depend on the file format or the program that wrote it.
    """
    total = hashlib.sha256()
    for name in sorted(map(str, frame.columns)):
        kind, parts = _content(frame[name])
        total.update(json.dumps([name, kind, len(frame)]).encode() + b"\n")
        for part in parts:
            total.update(part)
    return total.hexdigest()


def profile(frame: pd.DataFrame) -> dict[str, Any]:
    """Return fingerprint, rows, and per column ``null_share``, ``mean`` and ``std`` (or None)."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name in frame.columns:
        column = frame[name]
        figures: dict[str, float | None] = {"null_share": _rounded(column.isna().mean())}
        numeric = pd.api.types.is_numeric_dtype(column.dtype)
        figures["mean"] = _rounded(column.mean()) if numeric else None
        figures["std"] = _rounded(column.std(ddof=0)) if numeric else None
        columns[str(name)] = figures
    return {"fingerprint": fingerprint(frame), "rows": len(frame), "columns": columns}


def _rounded(value: Any) -> float | None:
    return None if value != value else float(f"{float(value):.12g}")  # noqa: PLR0124  NaN differs from itself


def _content(column: pd.Series) -> tuple[str, list[bytes]]:
    import numpy as np
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        moments = column.dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
        return "time", [moments.astype("<i8").tobytes()]
    if pd.api.types.is_numeric_dtype(column.dtype):
        numbers = column.to_numpy(dtype="float64", na_value=np.nan) + 0.0
        return "number", [np.where(np.isnan(numbers), np.nan, numbers).astype("<f8").tobytes()]
    codes, distinct = pd.factorize(column.astype("str"), sort=True)
    words = json.dumps([str(word) for word in distinct]).encode()
    return "text", [words, b"\n", codes.astype("<i8").tobytes()]
