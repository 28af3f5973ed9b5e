"""Reading of CSV files, with errors that name the file, the line and the setting to change."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.data.csv_lines import Records, split_records
from ml_pipeline.data.file_bytes import read_text
from ml_pipeline.data.source_rows import SourceRows
from ml_pipeline.data.text_normalization import plain_name

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

SEPARATORS = (",", ";", "\t", "|")
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""Cells that are missing values in a numeric column. In a text column only the empty cell is."""
DIRECTIVE = re.compile(rb"\"?sep=(.)\"?\n", re.IGNORECASE)
"""First line that sets the separator for Excel, for example ``sep=;``."""
MAX_HEADER_CANDIDATES = 1000
"""Lines that contain a column's name and are compared with the header, at most."""
HEADER_FAULT_SHARE = 0.5
"""Share of lines with another number of fields above which the header is at fault."""


def read_csv(
    path: Path,
    separator: str,
    text: Collection[str] = (),
    *,
    encoding: str | None = None,
    na_values: Sequence[str] = (),
    guess_types: bool = True,
    max_unpacked_mb: int | None = None,
) -> SourceRows:
    """Read a CSV file with a header; the columns in ``text`` are kept as text.

    Numbers are parsed exactly, so that the same data gives the same bits from any source. Every
    line is part of a row, blank, or one of the unreadable lines: those with too few or too many
    fields, with an unclosed quote or enclosed by it, repeated headers, and lines with a NUL byte.

    Args:
        path: plain or compressed; see :func:`ml_pipeline.data.file_bytes.read_text`.
        separator: one character.
        text: columns that are not numeric.
        encoding: of the text; None for UTF-8, or the encoding of its byte order mark.
        na_values: further markers of missing values, for every column.
        guess_types: infer numeric columns; if false, every column is text.
        max_unpacked_mb: largest decompressed size.

    Raises:
        UsageError: the file cannot be read as CSV with this separator: see also ``read_text``.
        Refused: the file is empty.
    """
    content = read_text(path, encoding, max_unpacked_mb)
    content = _without_directive(path, content, separator)
    records = split_records(content, separator)
    if not len(records.first):
        raise Refused(f"{path} is empty", expected="a header and rows")
    header = _header(path, records, separator)
    width = _width(path, records, header, separator)
    names = [*header, *[""] * (width - len(header))]
    _refuse_duplicates(path, names)
    _refuse_other_order(path, records, header, separator)
    faults = _faults(records, width, separator, len(header))
    frame = _parse(path, records.body(faults), separator, names, text, na_values, guess_types)
    positions = _row_positions(records, faults)
    if len(frame) != len(positions):  # pandas and csv_lines must agree on every line
        raise UsageError(
            f"{path}: {len(positions):,} records were parsed as {len(frame):,} rows",
            expected="one row per record",
            hint="check the file for unclosed quotes",
        )
    frame.index = positions
    frame, notes = _without_nameless(frame, names)
    return SourceRows(
        frame,
        records.first[1:] + 1,
        records.unread(faults),
        (*notes, *_blank_lines(records)),
    )


def read_header(path: Path, separator: str, encoding: str | None = None) -> list[str]:
    """Return the column names of the header; raises what :func:`read_csv` raises."""
    content = _without_directive(path, read_text(path, encoding), separator)
    records = split_records(content, separator)
    if not len(records.first):
        raise Refused(f"{path} is empty", expected="a header and rows")
    return _header(path, records, separator)


def _without_directive(path: Path, content: bytes, separator: str) -> bytes:
    """Blank a first line ``sep=;``, which must name the configured separator."""
    match = DIRECTIVE.match(content[:16])
    if match is None:
        return content
    declared = match[1].decode(errors="replace")
    if declared != separator:
        raise UsageError(
            f"{path} declares the separator {declared!r} in its first line",
            expected=f"separator {separator!r}",
            hint=f"set separator to {declared!r} beside its path",
        )
    return content[match.end() - 1 :]


def _header(path: Path, records: Records, separator: str) -> list[str]:
    try:
        (names,) = csv.reader(
            io.StringIO(records.content(0).decode(), newline=""), delimiter=separator
        )
    except (ValueError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: its header: {error}") from None
    if len(names) == 1:
        others = [other for other in SEPARATORS if other != separator and other in names[0]]
        if others or (" " in names[0].strip() and (records.fields == 1).all()):
            hint = "write the file with a one-character separator, such as ','"
            if others and others[0] * 2 not in names[0]:
                hint = f"set separator to {others[0]!r} beside its path"
            raise UsageError(
                f"{path} has one column, {names[0][:80]!r}",
                expected=f"columns separated by {separator!r}",
                hint=hint,
            )
    plain = [plain_name(name) for name in names]
    if any(len(name) > 1 and name[0] == name[-1] == '"' for name in plain):
        raise UsageError(
            f"{path} has blanks between its separators and its quotes",
            expected=f"fields such as {separator.join(plain)[:60]}",
            hint="write the file without these blanks",
        )
    return plain


def _width(path: Path, records: Records, header: Sequence[str], separator: str) -> int:
    """Return the number of fields of a row: that of the header.

    One more is accepted where that field is empty in every line: a trailing separator.

    Raises:
        UsageError: most lines have another number of fields.
    """
    import numpy as np

    width = len(header)
    fields = records.fields[1:]
    if not len(fields) or (fields != width).mean() <= HEADER_FAULT_SHARE:
        return width
    sizes, counts = np.unique(fields, return_counts=True)
    usual = int(sizes[counts.argmax()])
    place = int((fields == usual).argmax()) + 1
    line = int(records.first[place]) + 1
    if usual == width + 1:
        longer = np.flatnonzero(records.fields == usual)
        if all(records.content(at).endswith(separator.encode()) for at in longer.tolist()):
            return usual
    fault = f"{path}: the header has {width} {_fields(width)}, most lines have {usual}"
    if usual == width + 1:
        raise UsageError(
            f"{fault}: its rows are longer than its header",
            expected=f"rows of {width} {_fields(width)} separated by {separator!r}",
            hint="give the first column a name in the header, or write the file without row names; "
            "quote numbers with a decimal comma",
        )
    raise UsageError(
        fault,
        expected="the column names in the first line",
        hint="remove the lines above the column names, or name all columns "
        f"(line {line} has {usual})",
    )


def _refuse_duplicates(path: Path, names: Sequence[str]) -> None:
    duplicates = [name for name, count in Counter(names).items() if count > 1 and name]
    if duplicates:
        raise UsageError(
            f"{path} has more than one column '{duplicates[0]}'", expected="unique column names"
        )


def _refuse_other_order(path: Path, records: Records, names: Sequence[str], separator: str) -> None:
    """Refuse a file in which a later line is a header with another column order.

    Concatenated files have such lines; the rows below one have its order.
    """
    import numpy as np

    expected = sorted(names)
    longest = max(names, key=len).encode()
    if len(names) < 2 or len(longest) < 2:
        return
    starts = records.starts[records.first]
    at = records.text.find(longest, int(records.ends[records.last[0]]))
    for _ in range(MAX_HEADER_CANDIDATES):
        if at < 0:
            return
        record = int(np.searchsorted(starts, at, side="right")) - 1
        cells = [plain_name(cell.strip('"')) for cell in _cells(records, record, separator)]
        if sorted(cells) == expected and cells != [*names]:
            raise UsageError(
                f"{path} has a second header in line {int(records.first[record]) + 1}, with "
                f"another column order ({', '.join(cells[:5])}{', ...' if len(cells) > 5 else ''})",
                expected="one order of columns",
                hint="concatenate the files by column name, for example with pandas.concat",
            )
        at = records.text.find(longest, int(records.ends[records.last[record]]))


def _cells(records: Records, record: int, separator: str) -> list[str]:
    return records.content(record).decode(errors="replace").split(separator)


def _faults(records: Records, width: int, separator: str, named: int) -> dict[int, str]:
    """Return, by position, why records after the header are not rows.

    ``named`` is the number of fields of the header.
    """
    import numpy as np

    faults = dict(records.faults)
    faults.pop(0, None)
    allowed = records.fields == width
    if width > named:
        allowed |= records.fields == named
    for record in np.flatnonzero(~allowed).tolist():
        if record and record not in faults:
            count = int(records.fields[record])
            faults[record] = f"{count} {_fields(count)}, the header has {named}"
            faults[record] += _other_separator(records.content(record), width, separator)
    if b"\0" in records.text:
        starts = records.starts[records.first]
        nul_bytes = np.flatnonzero(np.frombuffer(records.text, dtype=np.uint8) == 0)
        for record in np.unique(np.searchsorted(starts, nul_bytes, side="right") - 1).tolist():
            faults[int(record)] = "a NUL byte"
    header = records.content(0)
    after_mark = records.text.find(codecs.BOM_UTF8 + header)
    while header and after_mark >= 0:
        record = int(np.searchsorted(records.starts[records.first], after_mark, side="right")) - 1
        if records.content(record).removeprefix(codecs.BOM_UTF8) == header:
            faults[record] = "a repeated header after a byte order mark"
        after_mark = records.text.find(codecs.BOM_UTF8 + header, after_mark + 1)
    begins, ends = records.starts[records.first], records.ends[records.last]
    alike = np.flatnonzero(ends - begins == len(header))
    characters = np.frombuffer(records.text, dtype=np.uint8)
    if header:
        for offset in (0, len(header) // 2, len(header) - 1):
            alike = alike[characters[begins[alike] + offset] == header[offset]]
    for record in alike[alike > 0].tolist():
        if records.content(record) == header:
            faults[record] = "a repeated header"
    return faults


def _other_separator(line: bytes, width: int, separator: str) -> str:
    for other in SEPARATORS:
        if other != separator and line.count(other.encode()) == width - 1:
            return f"; its separator is {other!r}"
    return ""


def _fields(count: int) -> str:
    return "field" if count == 1 else "fields"


def _parse(
    path: Path,
    body: bytes,
    separator: str,
    names: Sequence[str],
    text: Collection[str],
    na_values: Sequence[str],
    guess_types: bool,
) -> pd.DataFrame:
    import pandas as pd

    places = range(len(names))
    if not body:
        return pd.DataFrame({place: pd.Series(dtype="str") for place in places})
    as_text = {place for place in places if names[place] in text or not guess_types}
    missing: Any = {  # pandas accepts positions where columns have no names, its type stubs do not
        place: [*([""] if names[place] in text else MISSING), *na_values] for place in places
    }
    try:
        return pd.read_csv(
            io.BytesIO(body),
            sep=separator,
            encoding="utf-8",
            header=None,
            names=list(places),
            index_col=False,
            dtype=dict.fromkeys(as_text, "str"),
            keep_default_na=False,
            na_values=missing,
            low_memory=False,
        )
    except (pd.errors.ParserError, ValueError) as error:
        raise UsageError(
            f"{path} is not a CSV file: {error}",
            expected=f"rows of {len(names)} {_fields(len(names))} separated by {separator!r}",
        ) from None


def _row_positions(records: Records, faults: dict[int, str]) -> NDArray[np.int64]:
    """Return the positions of the records that are rows, not counting the header."""
    import numpy as np

    is_row = np.ones(len(records.first), dtype=bool)
    is_row[[0, *faults]] = False
    return np.flatnonzero(is_row) - 1


def _without_nameless(
    frame: pd.DataFrame, names: Sequence[str]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Set the column names and drop columns without a name."""
    notes = []
    for place in [place for place, name in enumerate(names) if not name]:
        empty = bool(frame[place].isna().all())
        notes.append(
            f"column {place + 1} has no name and is left out"
            + (" (it is empty: trailing separators)" if empty else "")
        )
    kept = [place for place, name in enumerate(names) if name]
    frame = frame[kept]
    frame.columns = [names[place] for place in kept]
    return frame, tuple(notes)


def _blank_lines(records: Records) -> tuple[str, ...]:
    if not records.blank:
        return ()
    lines = "blank line is" if records.blank == 1 else "blank lines are"
    return (f"{records.blank:,} {lines} left out",)
