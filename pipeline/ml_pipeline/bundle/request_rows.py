"""Raw features as a client sends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def json_rows(frame: pd.DataFrame, names: Sequence[str]) -> list[list[Any]]:
    """Return the columns ``names`` as rows that JSON can carry: numbers, texts and None."""
    import pandas as pd

    columns = [
        [None if pd.isna(value) else _plain(value) for value in frame[name].tolist()]
        for name in names
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _plain(value: object) -> object:
    return value if isinstance(value, str) else float(value)  # type: ignore[arg-type]
