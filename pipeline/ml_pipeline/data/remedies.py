"""Remedies for cells that are not numbers, dates or labels: the setting for ``ml.yaml``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from ml_pipeline.config import NAMED_DATE_FORMATS
from ml_pipeline.core.whitespace import BLANKS
from ml_pipeline.data.labels import shown_labels
from ml_pipeline.data.text_normalization import spelling_key
from ml_pipeline.data.typed_columns import DATE_FORMAT, LARGEST, TRUTH, as_text
from ml_pipeline.data.written_forms import EPOCH_OF_EXCEL, day_of, number_form

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

MAX_CELLS = 1000
"""Distinct cells that a remedy is derived from, at most."""
MAX_DATE_CELLS = 20
"""Cells that are tried as dates, in hundreds of formats, at most."""
MIN_SHARE = 0.9
"""Share of the cells that must have the same form, at least."""
PLAUSIBLE_YEARS, EPOCH_YEARS = range(1900, 2101), range(1975, 2101)
"""Years accepted for formatted dates, and for counts of days or seconds."""
MARKERS = frozenset(
    {
        *("#n/a", "#na", "#n/v", "#nv", "#value!", "#wert!", "#div/0!", "#ref!", "#name?", "#num!"),
        *("#null!", "n/a", "na", "n.a.", "n.a", "nan", "nil", "none", "null", "missing", "unknown"),
        *(
            "0000-00-00",
            "0000-00-00 00:00:00",
            "00.00.0000",
            "undefined",
            "nat",
            "tbd",
            "k.a.",
            "<na>",
            "(null)",
            "(blank)",
            "-nan",
            "\\n",
        ),
    }
)
DATE_FORMATS = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *(
        "%Y%m%d",
        "%d%m%Y",
        "%y%m%d",
        "%d%m%y",
        "%m%d%y",
        "%d.%m.%y",
        "%d/%m/%y",
        "%m/%d/%y",
        "%d-%m-%y",
        "%m-%d-%y",
        "%y/%m/%d",
    ),
    *("%d %b %Y", "%d-%b-%Y", "%d/%b/%Y", "%d-%b-%y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
    *("%b %d %Y", "%a %b %d %Y", "%a, %d %b %Y", "%Y-%b-%d", "%d. %B %Y"),
)
COMPACT = {"%y%m%d": 6, "%d%m%y": 6, "%m%d%y": 6}
"""Formats that strptime also parses from fewer digits, with their number of digits."""
TIMES = (
    *(" %H:%M:%S", "T%H:%M:%S", " %H:%M", "T%H:%M", " %H:%M:%S.%f", "T%H:%M:%S.%f", " %I:%M %p"),
    *(" %I:%M:%S %p", ", %H:%M", " %H:%M:%S%z", "T%H:%M:%S%z", "T%H:%M:%S.%f%z", " %H:%M:%S.%f%z"),
    *("T%H:%M%z", " %H:%M:%S %z", " %H:%M:%S %Z"),
)
UNIT = re.compile(
    r"[-+]?[\d.,' ]*\d\s*(?P<after>[^\d\s.,'+-][^\d\s]{0,5})"
    r"|(?P<before>[^\w\s.,'+()-]{1,3}|[A-Z]{2,4}\.?|Rs\.?)\s*[-+]?\d[\d.,' ]*"
)
"""A number with its unit after it, or its currency before it."""
PERIOD = re.compile(
    r"(19|20)\d\d(-?(W\d\d?|Q[1-4]|\d\d)|[ /]?Q[1-4])?|\d\d?/(19|20)\d\d", re.IGNORECASE
)
"""A year, or a month, week or quarter of one."""
PERIOD_REMEDY = (
    "a period is not a date: write its first day in the data source, for example 2024-01-01"
)
LETTERS = re.compile(r"[^\W\d_]{3}")
YEAR_DAY_MONTH = "%Y-%d-%m"
ISO_LIKE = re.compile(r"\d{4}-\d{2}-\d{2}(?![^ T])")
WORDS = frozenset({"yes", "no", "y", "n", "on", "off", "t", "f"})
CLOCK = re.compile(r"[-+]?\d+:\d\d(:\d\d(\.\d+)?)?")
INFINITE = frozenset(
    {
        "1.#inf",
        "-1.#inf",
        "1.#ind",
        "-1.#ind",
        "1.#qnan",
        "inf",
        "-inf",
        "+inf",
        "infinity",
        "-infinity",
        "∞",
    }
)


def number_remedy(
    cells: Sequence[str],
    others: Sequence[str] = (),
    *,
    label: bool = False,
    fixed: bool = False,
) -> str:
    """Return the remedy for cells that are not numbers.

    Args:
        cells: distinct cells that are not numbers.
        others: distinct cells of the column that are numbers, which a setting must parse too.
        label: whether the column is the label.
        fixed: whether the problem requires a number, so that no option makes it text.
    """
    written = [cell.strip(BLANKS) for cell in cells[:MAX_CELLS]]
    if label and not others:
        shown = " or ".join(json.dumps(cell, ensure_ascii=False) for cell in written[:2])
        return f"set problem.positive to the value that means 1: {shown}"
    markers = [cell for cell in written if _is_marker(cell)]
    if len(markers) >= MIN_SHARE * len(written):
        return f"if it means a missing value, set data.source.na_values to {_yaml(markers[:10])}"
    forms: tuple[tuple[str, str | None, str], ...] = (
        (",", None, "set data.source.decimal to ','"),
        (",", ".", "set data.source.decimal to ',' and data.source.thousands to '.'"),
        (".", ",", "set data.source.thousands to ','"),
        (".", " ", "set data.source.thousands to ' '"),
        (",", " ", "set data.source.decimal to ',' and data.source.thousands to ' '"),
        (".", "'", 'set data.source.thousands to "\'"'),
        (",", "'", "set data.source.decimal to ',' and data.source.thousands to \"'\""),
        (".", "_", "set data.source.thousands to '_'"),
    )
    values = [cell for cell in written if not _is_marker(cell)]
    if _all(values, lambda cell: cell.lower() in INFINITE or _is_too_large(cell)):
        return (
            "models read numbers of at most 3.4e38 (float32): correct them in the data source, "
            "or if they mean a missing value, set data.source.na_values to "
            f"{_yaml(values[:10])}"
        )
    fitting = [
        (number_form(mark, group), remedy)
        for mark, group, remedy in forms
        if _all(values, number_form(mark, group).fullmatch)
    ]
    found = [remedy for form, remedy in fitting if all(map(form.fullmatch, others[:MAX_CELLS]))]
    if fitting and not found:
        return "write them like the other cells: a decimal point, and nothing between digits"
    grouped = number_form(".", ",")
    if found and _all(values, grouped.fullmatch) and number_form(",", None).fullmatch(values[0]):
        return (
            "is the comma a decimal mark or does it group thousands? "
            "set data.source.decimal or data.source.thousands to ','"
        )
    if found:
        more = f", and data.source.na_values to {_yaml(markers[:10])}" if markers else ""
        return found[0] + more
    days = values[:MAX_DATE_CELLS]
    if _all(days, lambda cell: day_of(cell, "%Y-%m-%d") or date_forms([cell], named=False)):
        return "a date is not a number: name the column in problem.time or problem.drop"
    if _all(values, lambda cell: number_form(".", None).fullmatch(cell.replace("\u2212", "-"))):
        return "write the minus sign as '-'"
    if _all(values, lambda cell: cell.lower() in WORDS | {*TRUTH}) and set(others) <= {*TRUTH}:
        return "write 1 and 0, or name the column in problem.categorical"
    if _all(values, CLOCK.fullmatch):
        return (
            "a time or duration is not a number: write it in one unit, such as minutes, in the "
            "data source"
        )
    units = {
        match["after"] or match["before"] for cell in values if (match := UNIT.fullmatch(cell))
    }
    if units and _all(values, UNIT.fullmatch):
        shown = ", ".join(f"'{unit.strip()}'" for unit in sorted(units)[:3])
        remedy = f"write the number without {shown}"
        if len(units) > 1:
            remedy = (
                f"the cells have several units, {shown}: write the numbers in one unit, without it"
            )
        if fixed or others:
            return f"{remedy} in the data source"
        return (
            f"{remedy} in the data source, or name the column in problem.drop and compute the "
            "number in a feature function (features.modules)"
        )
    if _all(values, lambda cell: re.fullmatch(r"\(\s*[\d.,]+\s*\)|[\d.,]+\s*-", cell)):
        return "write negative numbers with a minus sign before them"
    marks = number_form(",", "."), number_form(".", ",")
    if values and any(map(marks[0].fullmatch, values)) and any(map(marks[1].fullmatch, values)):
        one = next(cell for cell in values if not marks[1].fullmatch(cell))
        two = next((cell for cell in values if not marks[0].fullmatch(cell)), "")
        if two and _all(values, lambda cell: any(form.fullmatch(cell) for form in marks)):
            return f"'{one}' and '{two}' have different decimal marks: use one in all cells"
    if fixed or others:
        return "correct the cells in the data source"
    return (
        "if it is text, name the column in problem.categorical, in problem.drop, or as "
        "problem.entity; else correct the cells"
    )


def label_remedy(values: pd.Series, positive: bool | str | float, missed: NDArray[np.bool_]) -> str:
    """Return the remedy for labels with a third value, or without ``positive``."""
    shown = f"column '{values.name}' holds {shown_labels(values)}"
    if missed.all():
        never = str(positive).lower() if isinstance(positive, bool) else repr(positive)
        quoted = (
            ", in quotes where YAML reads it as true or false" if isinstance(positive, bool) else ""
        )
        message = f"{shown} and never {never}: set problem.positive to the value that means 1"
        return f"{message}{quoted}"
    extra = cells_of(as_text(values[missed]))
    if all(map(_is_marker, extra)):
        return (
            f"{shown}: if {extra[0]!r} means a missing value, set data.source.na_values to "
            f"{_yaml(extra[:10])}"
        )
    words = [str(value) for value in as_text(values).dropna().unique()]
    if len({spelling_key(word) for word in words}) <= 2:
        return f"{shown}, of which some differ only in case or blanks: use one spelling"
    return f"{shown}: a label has two values; correct the others in the data source"


def share_over(share: float) -> str:
    """Return a share rounded up to three decimals."""
    return f"{math.ceil(share * 1000 + 1e-9) / 1000:g}"


def date_remedy(cells: Sequence[str], others: Sequence[str] = (), form: str | None = None) -> str:
    """Return the ``date_format`` that parses the cells; both where day and month are ambiguous.

    Args:
        cells: distinct cells that are not dates in YYYY-MM-DD.
        others: distinct cells of the column that are.
        form: the configured ``date_format``.
    """
    written = [cell.strip(BLANKS) for cell in cells[:MAX_CELLS]]
    values = [cell for cell in written if not _is_marker(cell)]
    read = _as_written(others[:MAX_CELLS], form)
    day_before_month = form is None and all(
        day_of(cell, YEAR_DAY_MONTH) for cell in (*values, *read)
    )
    if day_before_month and values:
        return f'set data.source.date_format to "{YEAR_DAY_MONTH}"'
    if _all(values, lambda cell: ISO_LIKE.match(cell) and day_of(cell[:10], "%Y-%m-%d") is None):
        return "these dates do not exist: correct them in the data source"
    if values and others:
        for shared in date_forms(values):
            if all(day_of(cell, shared) for cell in read):
                return f'set data.source.date_format to "{shared}"'
        return f"write them like the other cells: {form or 'YYYY-MM-DD'}"
    if _all(values, lambda cell: len(cell) != 6 and PERIOD.fullmatch(cell)):
        return PERIOD_REMEDY
    forms = date_forms(values)
    if not forms:
        if not values:
            return (
                f"if it means a missing value, set data.source.na_values to {_yaml(written[:10])}"
            )
        if two := _two_date_forms(values):
            return f"they have two formats, {two}: use one in all cells"
        if _all(values, PERIOD.fullmatch):
            return PERIOD_REMEDY
        remedy = "set data.source.date_format to the format of the dates, for example %d.%m.%Y"
        if any(LETTERS.search(cell) for cell in values):
            remedy += "; names of months and days are parsed in English"
        return remedy
    if len(forms) > 1:
        shown = " or ".join(f'"{form}"' for form in forms)
        return (
            f"set data.source.date_format to {shown}: each parses every cell, choose the right one"
        )
    return f'set data.source.date_format to "{forms[0]}"'


def _as_written(days: Sequence[str], form: str | None) -> list[str]:
    """Return days that were parsed by a format in that format again."""
    if form is None:
        return list(days)
    known = [day for cell in days if (day := day_of(cell[:10], DATE_FORMAT)) is not None]
    if form in NAMED_DATE_FORMATS:
        return [str((day - EPOCH_OF_EXCEL).days) for day in known]
    return [day.strftime(form) for day in known]


def _two_date_forms(cells: Sequence[str]) -> str:
    """Return two formats that together parse nearly all cells, or ""."""
    sample = cells[:50]
    read = {
        form: {cell for cell in sample if _share([cell], form)}
        for form in (*DATE_FORMATS, *(f"{day}{clock}" for day in DATE_FORMATS for clock in TIMES))
    }
    first = max(read, key=lambda form: len(read[form]))
    second = max(read, key=lambda form: len(read[form] - read[first]))
    parsed_by_either = read[first] | read[second]
    if not read[second] - read[first] or len(parsed_by_either) < MIN_SHARE * len(sample):
        return ""
    return f'"{first}" and "{second}"'


def date_forms(cells: Sequence[str], *, named: bool = True) -> list[str]:
    """Return the formats that parse most cells, and nearly all, as days of 1900 to 2100."""
    if not cells:
        return []
    formats = [DATE_FORMAT, *DATE_FORMATS]
    if any(":" in cell for cell in cells):
        formats = [f"{day}{clock}" for day in ("%Y-%m-%d", *DATE_FORMATS) for clock in TIMES]
    sample = cells[:: math.ceil(len(cells) / MAX_DATE_CELLS)]
    known = (*formats, *(NAMED_DATE_FORMATS if named else ()))
    likely = [form for form in known if _share(sample, form) >= MIN_SHARE]
    shares = {form: _share(cells, form) for form in likely}
    best = max(shares.values(), default=0.0)
    if best < MIN_SHARE:
        return []
    found = [form for form in likely if shares[form] == best]
    written = [form for form in found if form not in NAMED_DATE_FORMATS]
    return written[:3] or found[:1]


def cells_of(column: pd.Series) -> list[str]:
    """Return distinct values as text; values of a text file unchanged."""
    distinct = column.dropna().unique()[:MAX_CELLS]
    return [str(value) for value in distinct]


def _share(cells: Collection[str], form: str) -> float:
    years = EPOCH_YEARS if form in NAMED_DATE_FORMATS else PLAUSIBLE_YEARS
    length = COMPACT.get(form)
    days = [day_of(cell, form) if length in (None, len(cell)) else None for cell in cells]
    return sum(day is not None and day.year in years for day in days) / len(cells)


def _is_too_large(cell: str) -> bool:
    try:
        return abs(float(cell)) > LARGEST
    except ValueError:
        return False


def _is_marker(cell: str) -> bool:
    return cell.lower() in MARKERS or not any(character.isalnum() for character in cell)


def _all(cells: Sequence[str], holds: Callable[[str], object]) -> bool:
    return bool(cells) and sum(bool(holds(cell)) for cell in cells) >= MIN_SHARE * len(cells)


def _yaml(cells: Sequence[str]) -> str:
    return json.dumps(list(cells), ensure_ascii=False)
