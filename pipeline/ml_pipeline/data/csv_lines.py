"""The records of a CSV text: every line belongs to a record, and malformed ones have a reason.

A parser alone hides malformed lines: it pads short lines with missing values, and reads the lines
from a stray quote to the next quote as one cell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ml_pipeline.data.source_rows import UnreadLine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEWLINE, QUOTE = ord("\n"), ord('"')
MAX_CELL_LINES = 10_000
"""Lines after which an open quote counts as unclosed."""
MAX_SHOWN = 200
"""Characters of an unreadable line that are reported."""
SAMPLE = 200
"""Records by which numeric columns are inferred."""
NUMBER = re.compile(rb"\s*[-+]?[\d.,'\s]*\d[\d.,'\s]*(e[-+]?\d+)?\s*%?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Records:
    """The records of a text, header first; blank lines belong to none.

    Attributes:
        text: UTF-8 with line feeds.
        first: the physical line of each record's start, from 0.
        last: the physical line of its end.
        fields: number of fields of each record.
        faults: why a record is malformed, by its position among the records.
        blank: number of blank lines between others.
    """

    text: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    fields: NDArray[np.int64]
    faults: dict[int, str] = field(default_factory=dict)
    blank: int = 0

    def content(self, record: int) -> bytes:
        start, end = self.starts[self.first[record]], self.ends[self.last[record]]
        return bytes(self.text[int(start) : int(end)])

    def unread(self, faults: dict[int, str]) -> tuple[UnreadLine, ...]:
        """Return the records with a fault; their positions do not count the header."""
        return tuple(
            UnreadLine(
                record - 1,
                int(self.first[record]) + 1,
                self.content(record)[:MAX_SHOWN].decode(errors="replace"),
                reason,
            )
            for record, reason in sorted(faults.items())
        )

    def body(self, faults: dict[int, str]) -> bytes:
        """Return the text of the records after the header without a fault."""
        import numpy as np

        if len(self.first) < 2:
            return b""
        if not faults and not self.blank:
            return self.text[self.starts[self.first[1]] :]
        kept = np.ones(len(self.first), dtype=bool)
        kept[[0, *faults]] = False
        begins = self.starts[self.first[kept]]
        stops = np.minimum(self.ends[self.last[kept]] + 1, len(self.text))
        marks = np.zeros(len(self.text) + 1, dtype=np.int8)
        marks[begins] += 1
        np.subtract.at(marks, stops, 1)
        inside = np.cumsum(marks[:-1], dtype=np.int8).astype(bool)
        return bytes(np.frombuffer(self.text, dtype=np.uint8)[inside])


def split_records(text: bytes, separator: str) -> Records:
    """Split a text into records by RFC 4180 and return the faults of those that are malformed.

    A record of several lines is malformed where each of its lines is a valid row: a stray quote
    encloses them. An unclosed quote, and one that is closed in the middle of a cell, make only
    their own line malformed.
    """
    import numpy as np

    mark = separator.encode()
    characters = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(characters == NEWLINE)
    if len(text) and text[-1] != NEWLINE:
        ends = np.append(ends, len(text))
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)[: len(ends)]
    separators = np.flatnonzero(characters == mark[0])
    counts = _counts(separators, starts, ends)
    first = last = np.arange(len(ends), dtype=np.int64)
    fields = counts + 1
    faults: dict[int, str] = {}
    if b'"' in text:
        quote = characters == QUOTE
        inside = np.cumsum(quote, dtype=np.uint8)
        inside &= 1
        quotes = np.flatnonzero(quote)
        if _well_formed(characters, quotes, mark[0]):
            last = np.flatnonzero(inside[np.minimum(ends, len(text) - 1)] == 0)
            first = np.concatenate([[0], last[:-1] + 1]).astype(np.int64)
            outside = separators[inside[separators] == 0]
            fields = _counts(outside, starts[first], ends[last]) + 1
        else:
            lines = _Lines(text, starts, ends, characters, quotes, inside)
            first, last, fields, faults = lines.records(separators, mark)
    records = Records(text, starts, ends, first, last, fields, faults)
    return _split_stray_quotes(_without_blanks(records), mark, counts)


def _counts(
    places: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many of the positions lie in each range."""
    import numpy as np

    before = np.searchsorted(places, ends)
    return before - np.searchsorted(places, starts)


def _well_formed(characters: NDArray[np.uint8], quotes: NDArray[np.int64], separator: int) -> bool:
    """Return whether every quote opens a field, closes one, or is doubled inside one."""
    import numpy as np

    if len(quotes) % 2:
        return False
    opening, closing = quotes[0::2], quotes[1::2]
    before = characters[np.maximum(opening - 1, 0)]
    doubled = np.concatenate([[False], opening[1:] == closing[:-1] + 1])
    at_start = (opening == 0) | (before == separator) | (before == NEWLINE) | doubled
    if not at_start.all():
        return False
    after = characters[np.minimum(closing + 1, len(characters) - 1)]
    at_end = (closing == len(characters) - 1) | (after == separator) | (after == NEWLINE)
    return bool((at_end | np.append(doubled[1:], False)).all())


@dataclass(frozen=True)
class _Lines:
    """The physical lines of a text whose quotes are not well formed."""

    text: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    characters: NDArray[np.uint8]
    quotes: NDArray[np.int64]
    inside: NDArray[np.uint8]

    def records(
        self, separators: NDArray[np.int64], mark: bytes
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], dict[int, str]]:
        """Return first and last line, fields and fault of each record.

        A line that neither is a record nor begins one is malformed; splitting goes on after it.
        """
        import numpy as np

        line_of = np.searchsorted(self.ends, self.quotes)
        quoted = np.unique(line_of)
        fields = self._fields(separators)
        form = _Form.of(mark)
        joined = np.zeros(len(self.ends), dtype=bool)  # belongs to the record of the line before
        reasons: dict[int, str] = {}
        done = -1
        for line in self._lines_with_open_quotes(line_of, mark[0]).tolist():
            if line <= done:
                continue
            whole, stop = self._span(line, line), line
            after = int(np.searchsorted(quoted, line)) + 1
            while form.opens.fullmatch(whole) and after < len(quoted):
                stop = int(quoted[after])
                if stop - line > MAX_CELL_LINES:
                    break
                whole, after = self._span(line, stop), after + 1
            if form.row.fullmatch(whole):
                joined[line + 1 : stop + 1] = True
                fields[line] = form.fields(whole)
                done = stop
            else:
                opened = form.opens.fullmatch(self._span(line, line))
                reasons[line] = "an unclosed quote" if opened else "a quote inside an unquoted cell"
        first = np.flatnonzero(~joined)
        last = np.append(first[1:] - 1, len(self.ends) - 1)
        places = {line: place for place, line in enumerate(first.tolist())} if reasons else {}
        faults = {places[line]: why for line, why in reasons.items() if line in places}
        return first, last, fields[first], faults

    def _span(self, first: int, last: int) -> bytes:
        return bytes(self.text[int(self.starts[first]) : int(self.ends[last])])

    def _fields(self, separators: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of fields of each line, as if its quotes opened and closed in it."""
        import numpy as np

        line_of = np.searchsorted(self.ends, separators)
        before = np.concatenate([[0], self.inside[:-1]])[self.starts[line_of]]
        outside = separators[self.inside[separators] == before]
        return _counts(outside, self.starts, self.ends) + 1

    def _lines_with_open_quotes(
        self, line_of: NDArray[np.int64], separator: int
    ) -> NDArray[np.int64]:
        """Return the lines with quotes that do not open and close cells in the same line."""
        import numpy as np

        number = np.arange(len(self.quotes))
        first_of = np.flatnonzero(np.diff(line_of, prepend=-1))
        within = number - np.repeat(first_of, np.diff(np.append(first_of, len(self.quotes))))
        opening = within % 2 == 0
        adjacent = np.concatenate([[False], np.diff(self.quotes) == 1]) & (within > 0)
        before = self.characters[np.maximum(self.quotes - 1, 0)]
        opens = (self.quotes == self.starts[line_of]) | (before == separator) | adjacent
        after = self.characters[np.minimum(self.quotes + 1, len(self.characters) - 1)]
        at_end = self.quotes + 1 == self.ends[line_of]
        closes = at_end | (after == separator) | np.append(adjacent[1:], [False])
        wrong = np.where(opening, ~opens, ~closes)
        last_of = np.append(first_of[1:], len(self.quotes)) - 1
        wrong[last_of] |= opening[last_of]
        return np.unique(line_of[wrong])


@dataclass(frozen=True)
class _Form:
    """Patterns of a whole record, of one whose last cell is still open, and of a cell."""

    row: re.Pattern[bytes]
    opens: re.Pattern[bytes]
    cell: re.Pattern[bytes]

    @classmethod
    def of(cls, mark: bytes) -> _Form:
        separator = re.escape(mark)
        inside = rb'"(?:[^"]|"")*'
        cell = rb"(?:" + inside + rb'"|[^"' + separator + rb"][^" + separator + rb"]*|)"
        return cls(
            re.compile(cell + rb"(?:" + separator + cell + rb")*"),
            re.compile(rb"(?:" + cell + separator + rb")*" + inside),
            re.compile(cell),
        )

    def fields(self, record: bytes) -> int:
        count, end = 0, -1
        while end < len(record):
            found = self.cell.match(record, end + 1)
            assert found is not None
            count, end = count + 1, found.end()
        return count


def _without_blanks(found: Records) -> Records:
    """Drop blank lines, and count those between other lines."""
    import numpy as np

    lengths = found.ends[found.last] - found.starts[found.first]
    blank = lengths == 0
    if len(lengths) and found.fields[~blank].max(initial=1) > 1:
        for record in np.flatnonzero((found.fields == 1) & ~blank).tolist():
            blank[record] = not found.content(record).strip()
    if not blank.any():
        return found
    kept = np.flatnonzero(~blank)
    places = {old: new for new, old in enumerate(kept.tolist())} if found.faults else {}
    return Records(
        found.text,
        found.starts,
        found.ends,
        found.first[kept],
        found.last[kept],
        found.fields[kept],
        {places[old]: why for old, why in found.faults.items()},
        int(blank[kept[0] : kept[-1]].sum()) if len(kept) else 0,
    )


def _split_stray_quotes(found: Records, mark: bytes, counts: NDArray[np.int64]) -> Records:
    """Split records in which a stray quote encloses valid rows into malformed lines."""
    import numpy as np

    if not len(found.first):
        return found
    width = int(found.fields[0])
    suspects = np.flatnonzero(
        (found.last > found.first)
        & (counts[found.first] == width - 1)
        & (counts[found.last] == width - 1)
    )
    suspects = suspects[suspects > 0] if width > 1 else suspects[:0]
    if not len(suspects):
        return found
    numeric = _numeric_columns(found, mark, width)
    enclosing = [
        record
        for record in suspects.tolist()
        if _are_rows(_lines(found, record), mark, width, numeric)
    ]
    if not enclosing:
        return found
    split = np.zeros(len(found.first), dtype=bool)
    split[enclosing] = True
    sizes = np.where(split, found.last - found.first + 1, 1)
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    first = np.repeat(found.first, sizes)
    within = np.arange(sizes.sum()) - np.repeat(offsets, sizes)
    first = first + within
    last = np.where(np.repeat(split, sizes), first, np.repeat(found.last, sizes))
    fields = np.where(np.repeat(split, sizes), width, np.repeat(found.fields, sizes))
    faults = {int(offsets[old]): why for old, why in found.faults.items()}
    for record in enclosing:
        opened, closed = int(found.first[record]) + 1, int(found.last[record]) + 1
        why = f"inside a quoted cell that opens in line {opened} and closes in line {closed}"
        faults |= {int(offsets[record]) + step: why for step in range(closed - opened + 1)}
    return Records(found.text, found.starts, found.ends, first, last, fields, faults, found.blank)


def _lines(found: Records, record: int) -> list[bytes]:
    return found.content(record).split(b"\n")


def _numeric_columns(found: Records, mark: bytes, width: int) -> list[int]:
    """Return the columns that hold numbers in nearly all of the first single-line rows.

    Where every record has several lines, the first line of each is used.
    """
    import numpy as np

    plain = np.flatnonzero((found.fields == width) & (found.first == found.last))
    rows = [found.content(record).split(mark) for record in plain[plain > 0][:SAMPLE].tolist()]
    rows = [row for row in rows if len(row) == width]
    if not rows:
        several = np.flatnonzero(found.last > found.first)[:SAMPLE].tolist()
        rows = [_lines(found, record)[0].split(mark) for record in several if record]
        rows = [row for row in rows if len(row) == width]
    if not rows:
        return []
    return [
        column
        for column in range(width)
        if sum(bool(NUMBER.fullmatch(row[column].strip(b'"'))) for row in rows) >= 0.9 * len(rows)
    ]


def _are_rows(lines: Sequence[bytes], mark: bytes, width: int, numeric: list[int]) -> bool:
    """Return whether the first and last line, and most between them, are valid rows."""
    valid = [_is_row(line, mark, width, numeric) for line in lines]
    return valid[0] and valid[-1] and sum(valid) > len(valid) / 2


def _is_row(line: bytes, mark: bytes, width: int, numeric: list[int]) -> bool:
    cells = [cell.strip(b'" ') for cell in line.split(mark)]
    return len(cells) == width and all(
        not cells[column] or NUMBER.fullmatch(cells[column]) for column in numeric
    )
