"""The rows of a source, and its lines that cannot be read as rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class UnreadLine:
    """A line of a text file that cannot be read as a row, with the reason."""

    row: int
    line: int
    text: str
    reason: str


@dataclass(frozen=True)
class SourceRows:
    """The rows of a source in its own column names and order.

    Attributes:
        frame: the rows; the index is each row's position in the source, from 0, counting
            unreadable lines.
        lines: line number, from 1, of each position in a text file; None for other sources.
        unread: the lines that cannot be read as rows.
        notes: what was left out or changed while reading, one sentence each.
        date_format: the configured format of its dates, if any.
    """

    frame: pd.DataFrame
    lines: NDArray[np.int64] | None = None
    unread: tuple[UnreadLine, ...] = ()
    notes: tuple[str, ...] = field(default=())
    date_format: str | None = None

    @property
    def count(self) -> int:
        """Number of rows and unreadable lines."""
        return len(self.frame) + len(self.unread)

    def place(self, row: Any) -> str:
        """Return the location of a row: its line in a text file, else its position."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"
