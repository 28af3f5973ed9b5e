"""CSV files: reading, and errors that name file, line and remedy."""

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
from ml_pipeline.data.csv_lines import Records, records_of
from ml_pipeline.data.file_bytes import read_text
from ml_pipeline.data.source_rows import SourceRows
from ml_pipeline.data.text_normalization import plain_name

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

SEPARATORS = (",", ";", "\t", "|")
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""What stands for a missing number. In a text column only the empty field is missing."""
DIRECTIVE = re.compile(rb"\"?sep=(.)\"?\n", re.IGNORECASE)
"""A first line by which Excel learns the separator."""
HEADERS_LOOKED_AT = 1000
"""Lines with a column's name in them that are compared with the header."""
HEADER_FAULT_SHARE = 0.5
"""Share of lines that differ from the header from which the header is at fault, not the lines."""


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
    """Read a CSV file with a header; columns named in ``text`` stay as they are written.

    Numbers are parsed exactly, so that the same data gives the same bits from any source. Every
    line is in a row, blank, or among those that are no row: short and long ones, those with a
    stray quote and what it swallowed, the header again, and those with a NUL byte.

    Args:
        path: plain, or packed: see :func:`ml_pipeline.data.file_bytes.read_text`.
        separator: between fields.
        text: columns that are no numbers.
        encoding: of the text; None for UTF-8, or what a byte order mark says.
        na_values: further cells that are missing values, in every column.
        guess_types: if not, every column stays text.
        max_unpacked_mb: how much a packed file may become.

    Raises:
        UsageError: the file cannot be read as CSV with this separator: see also ``read_text``.
        Refused: the file is empty.
    """
    text_read = read_text(path, encoding, max_unpacked_mb)
    content = _without_directive(path, text_read, separator)
    records = records_of(content, separator)
    if not len(records.first):
        raise Refused(f"{path} is empty", expected="a header and rows")
    given = _header(path, records, separator)
    width = _width(path, records, given, separator)
    names = [*given, *[""] * (width - len(given))]
    _refuse_twice(path, names)
    _refuse_other_order(path, records, given, separator)
    faults = _faults(records, width, separator, len(given))
    frame = _parse(path, records.body(faults), separator, names, text, na_values, guess_types)
    good = _rows_of(records, faults)
    if len(frame) != len(good):  # the parser and the reconciliation must agree on every line
        raise UsageError(
            f"{path}: {len(good):,} lines were read as {len(frame):,} rows",
            expected="a row a line",
            hint="look for quotes that are not closed",
        )
    frame.index = good
    frame, notes = _without_nameless(frame, names)
    return SourceRows(
        frame,
        records.first[1:] + 1,
        records.unread(faults),
        (*notes, *_blank_lines(records)),
    )


def read_header(path: Path, separator: str, encoding: str | None = None) -> list[str]:
    """Return the names in the header; see :func:`read_csv` for what is raised."""
    content = _without_directive(path, read_text(path, encoding), separator)
    records = records_of(content, separator)
    if not len(records.first):
        raise Refused(f"{path} is empty", expected="a header and rows")
    return _header(path, records, separator)


def _without_directive(path: Path, content: bytes, separator: str) -> bytes:
    """Blank a first line ``sep=;``; it must name the separator that is set."""
    found = DIRECTIVE.match(content[:16])
    if found is None:
        return content
    named = found[1].decode(errors="replace")
    if named != separator:
        raise UsageError(
            f"{path} says in its first line that {named!r} separates its fields",
            expected=f"{separator!r}",
            hint=f"set separator to {named!r} beside its path",
        )
    return content[found.end() - 1 :]


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
            hint = "write it with one character between its columns, such as ','"
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
            hint="write it without these blanks",
        )
    return plain


def _width(path: Path, records: Records, header: Sequence[str], separator: str) -> int:
    """Return how many fields a row has: as many as the header, unless most lines say otherwise.

    One more is taken where it is empty in all of them: a separator at the end of each line.
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
        hint=f"remove what stands above the names, or name the columns (line {line} has {usual})",
    )


def _refuse_twice(path: Path, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise UsageError(f"{path} has more than one column '{twice[0]}'", expected="one of a name")


def _refuse_other_order(path: Path, records: Records, given: Sequence[str], separator: str) -> None:
    """Refuse a file in which a later line names the columns in another order.

    Files that were joined end to end have such lines; the rows below one are in its order.
    """
    import numpy as np

    header = sorted(given)
    longest = max(given, key=len).encode()
    if len(given) < 2 or len(longest) < 2:
        return
    starts = records.starts[records.first]
    at = records.text.find(longest, int(records.ends[records.last[0]]))
    for _ in range(HEADERS_LOOKED_AT):
        if at < 0:
            return
        record = int(np.searchsorted(starts, at, side="right")) - 1
        names = [plain_name(cell.strip('"')) for cell in _cells(records, record, separator)]
        if sorted(names) == header and names != [*given]:
            raise UsageError(
                f"{path} names its columns again in line {int(records.first[record]) + 1}, in "
                f"another order ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})",
                expected="one order of columns",
                hint="the file was joined of several: join them by name",
            )
        at = records.text.find(longest, int(records.ends[records.last[record]]))


def _cells(records: Records, record: int, separator: str) -> list[str]:
    return records.content(record).decode(errors="replace").split(separator)


def _faults(records: Records, width: int, separator: str, named: int) -> dict[int, str]:
    """Return why a record after the header is no row, by its place."""
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
        nulls = np.flatnonzero(np.frombuffer(records.text, dtype=np.uint8) == 0)
        for record in np.unique(np.searchsorted(starts, nulls, side="right") - 1).tolist():
            faults[int(record)] = "a NUL byte"
    header = records.content(0)
    marked = records.text.find(codecs.BOM_UTF8 + header)
    while header and marked >= 0:
        record = int(np.searchsorted(records.starts[records.first], marked, side="right")) - 1
        if records.content(record).removeprefix(codecs.BOM_UTF8) == header:
            faults[record] = "the header again, after a byte order mark"
        marked = records.text.find(codecs.BOM_UTF8 + header, marked + 1)
    begins, ends = records.starts[records.first], records.ends[records.last]
    alike = np.flatnonzero(ends - begins == len(header))
    characters = np.frombuffer(records.text, dtype=np.uint8)
    if header:
        for offset in (0, len(header) // 2, len(header) - 1):
            alike = alike[characters[begins[alike] + offset] == header[offset]]
    for record in alike[alike > 0].tolist():
        if records.content(record) == header:
            faults[record] = "the header again"
    return faults


def _other_separator(line: bytes, width: int, separator: str) -> str:
    for other in SEPARATORS:
        if other != separator and line.count(other.encode()) == width - 1:
            return f"; it is separated by {other!r}"
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
    missing: Any = {  # pandas takes places where columns have no names, its types do not say so
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


def _rows_of(records: Records, faults: dict[int, str]) -> NDArray[np.int64]:
    """Return the places of the records that are rows, the header not counted."""
    import numpy as np

    good = np.ones(len(records.first), dtype=bool)
    good[[0, *faults]] = False
    return np.flatnonzero(good) - 1


def _without_nameless(
    frame: pd.DataFrame, names: Sequence[str]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Name the columns and leave out those without a name."""
    notes = []
    for place in [place for place, name in enumerate(names) if not name]:
        empty = bool(frame[place].isna().all())
        notes.append(
            f"column {place + 1} has no name and is left out"
            + (" (it is empty: a separator at the end of the lines)" if empty else "")
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
