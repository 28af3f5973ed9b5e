"""The rows of a source, and the lines of it that are no rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class UnreadLine:
    """A line of a text file that is no row, and why."""

    row: int
    line: int
    text: str
    reason: str


@dataclass(frozen=True)
class SourceRows:
    """The rows of a source in its own column names and order.

    Attributes:
        frame: the rows; its index is each row's place in the source, from 0, lines that are no
            row counted.
        lines: line number of each place of a text file, from 1; None for another source.
        unread: the lines that are no row.
        notes: what was left out or changed in reading, one sentence each.
        date_format: how its days are written, where that is set.
    """

    frame: pd.DataFrame
    lines: NDArray[np.int64] | None = None
    unread: tuple[UnreadLine, ...] = ()
    notes: tuple[str, ...] = field(default=())
    date_format: str | None = None

    @property
    def count(self) -> int:
        """Rows and lines that are no row."""
        return len(self.frame) + len(self.unread)

    def place(self, row: Any) -> str:
        """Return where a row is: its line in a text file, else its position."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"
