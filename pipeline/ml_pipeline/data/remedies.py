"""Remedies for cells that are no numbers, dates or labels: the setting for ``ml.yaml``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from ml_pipeline.config import NAMED_DATE_FORMATS
from ml_pipeline.core.whitespace import BLANKS
from ml_pipeline.data.labels import shown_labels
from ml_pipeline.data.text_normalization import same_but_for_spelling
from ml_pipeline.data.typed_columns import DATE_FORMAT, LARGEST, TRUTH, as_text
from ml_pipeline.data.written_forms import EPOCH_OF_EXCEL, day_of, number_form

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

LOOKED_AT = 1000
"""Distinct cells that a remedy is made from."""
LOOKED_AT_AS_DATES = 20
"""Those of them that are tried as dates, in hundreds of formats."""
MOST = 0.9
"""Share of them that has to have one form."""
PLAUSIBLE_YEARS, COUNTED_YEARS = range(1900, 2101), range(1975, 2101)
"""Years of dates that are written, and of those that count days or seconds."""
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
"""Formats that strptime reads from fewer digits too, and how many there have to be."""
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
    "a period is no day: write its first day where the data are made, for example 2024-01-01"
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
    """Return the remedy for cells that should be numbers.

    Args:
        cells: distinct ones that are no numbers.
        others: distinct ones of the column that are numbers: a setting has to read them too.
        label: they are labels.
        fixed: the column is a number, whatever the configuration says.
    """
    written = [cell.strip(BLANKS) for cell in cells[:LOOKED_AT]]
    if label and not others:
        shown = " or ".join(json.dumps(cell, ensure_ascii=False) for cell in written[:2])
        return f"set problem.positive to the value that means 1: {shown}"
    markers = [cell for cell in written if _is_marker(cell)]
    if len(markers) >= MOST * len(written):
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
            "models read numbers of at most 3.4e38 (float32): correct them where the data are "
            "made, or if they mean a missing value, set data.source.na_values to "
            f"{_yaml(values[:10])}"
        )
    fitting = [
        (number_form(mark, group), says)
        for mark, group, says in forms
        if _all(values, number_form(mark, group).fullmatch)
    ]
    found = [says for form, says in fitting if all(map(form.fullmatch, others[:LOOKED_AT]))]
    if fitting and not found:
        return "write them as the other cells are: a decimal point, and nothing between digits"
    grouped = number_form(".", ",")
    if found and _all(values, grouped.fullmatch) and number_form(",", None).fullmatch(values[0]):
        return (
            "is the comma a decimal mark or does it group thousands? "
            "set data.source.decimal or data.source.thousands to ','"
        )
    if found:
        more = f", and data.source.na_values to {_yaml(markers[:10])}" if markers else ""
        return found[0] + more
    days = values[:LOOKED_AT_AS_DATES]
    if _all(days, lambda cell: day_of(cell, "%Y-%m-%d") or date_forms([cell], named=False)):
        return "a date is no number: name the column in problem.time or problem.drop"
    if _all(values, lambda cell: number_form(".", None).fullmatch(cell.replace("\u2212", "-"))):
        return "write the minus sign as '-'"
    if _all(values, lambda cell: cell.lower() in WORDS | {*TRUTH}) and set(others) <= {*TRUTH}:
        return "write 1 and 0, or name the column in problem.categorical"
    if _all(values, CLOCK.fullmatch):
        return (
            "a time or duration is no number: write it in one unit, such as minutes, where the "
            "data are made"
        )
    units = {
        match["after"] or match["before"] for cell in values if (match := UNIT.fullmatch(cell))
    }
    if units and _all(values, UNIT.fullmatch):
        shown = ", ".join(f"'{unit.strip()}'" for unit in sorted(units)[:3])
        helps = f"write the number without {shown}"
        if len(units) > 1:
            helps = f"the cells have several units, {shown}: write the number in one of them alone"
        if fixed or others:
            return f"{helps} where the data are made"
        return (
            f"{helps} where the data are made, or name the column in problem.drop and compute the "
            "number in a feature function (features.modules)"
        )
    if _all(values, lambda cell: re.fullmatch(r"\(\s*[\d.,]+\s*\)|[\d.,]+\s*-", cell)):
        return "write negative numbers with a minus sign before them"
    marks = number_form(",", "."), number_form(".", ",")
    if values and any(map(marks[0].fullmatch, values)) and any(map(marks[1].fullmatch, values)):
        one = next(cell for cell in values if not marks[1].fullmatch(cell))
        two = next((cell for cell in values if not marks[0].fullmatch(cell)), "")
        if two and _all(values, lambda cell: any(form.fullmatch(cell) for form in marks)):
            return f"'{one}' and '{two}' have other decimal marks: write all of them in one way"
    if fixed or others:
        return "correct the cells where the data are made"
    return (
        "if it is text, name the column in problem.categorical, in problem.drop, or as "
        "problem.entity; else correct the cells"
    )


def label_remedy(values: pd.Series, positive: bool | str | float, missed: NDArray[np.bool_]) -> str:
    """Return the remedy for labels with a third value, or without the ``positive`` one."""
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
    if len({same_but_for_spelling(word) for word in words}) <= 2:
        return f"{shown}, of which some differ in case or blanks alone: write them in one way"
    return f"{shown}: a label has two values; correct the others where the data are made"


def share_over(share: float) -> str:
    """Return a share of three digits that is a little more than the one given."""
    return f"{math.ceil(share * 1000 + 1e-9) / 1000:g}"


def date_remedy(cells: Sequence[str], others: Sequence[str] = (), form: str | None = None) -> str:
    """Return the ``date_format`` that reads these cells, both where a day and month could change.

    Args:
        cells: distinct ones that are no days as YYYY-MM-DD.
        others: distinct ones of the column that are.
        form: the ``date_format`` that is set.
    """
    written = [cell.strip(BLANKS) for cell in cells[:LOOKED_AT]]
    values = [cell for cell in written if not _is_marker(cell)]
    read = _as_written(others[:LOOKED_AT], form)
    turned = form is None and all(day_of(cell, YEAR_DAY_MONTH) for cell in (*values, *read))
    if turned and values:
        return f'set data.source.date_format to "{YEAR_DAY_MONTH}"'
    if _all(values, lambda cell: ISO_LIKE.match(cell) and day_of(cell[:10], "%Y-%m-%d") is None):
        return "there is no such day: correct them where the data are made"
    if values and others:
        for shared in date_forms(values):
            if all(day_of(cell, shared) for cell in read):
                return f'set data.source.date_format to "{shared}"'
        return f"write them as the other cells are: {form or 'YYYY-MM-DD'}"
    if _all(values, lambda cell: len(cell) != 6 and PERIOD.fullmatch(cell)):
        return PERIOD_REMEDY
    forms = date_forms(values)
    if not forms:
        if not values:
            return (
                f"if it means a missing value, set data.source.na_values to {_yaml(written[:10])}"
            )
        if two := _two_date_forms(values):
            return f"they are written in two ways, {two}: write all of them in one way"
        if _all(values, PERIOD.fullmatch):
            return PERIOD_REMEDY
        helps = "set data.source.date_format to how the dates are written, for example %d.%m.%Y"
        if any(LETTERS.search(cell) for cell in values):
            helps += "; names of months and days are read in English"
        return helps
    if len(forms) > 1:
        shown = " or ".join(f'"{form}"' for form in forms)
        return f"set data.source.date_format to {shown}: each reads every cell, you know which"
    return f'set data.source.date_format to "{forms[0]}"'


def _as_written(days: Sequence[str], form: str | None) -> list[str]:
    """Return days that were read by a format as they were written by it."""
    if form is None:
        return list(days)
    known = [day for cell in days if (day := day_of(cell[:10], DATE_FORMAT)) is not None]
    if form in NAMED_DATE_FORMATS:
        return [str((day - EPOCH_OF_EXCEL).days) for day in known]
    return [day.strftime(form) for day in known]


def _two_date_forms(cells: Sequence[str]) -> str:
    """Return two formats that read nearly all cells between them, or nothing."""
    sample = cells[:50]
    read = {
        form: {cell for cell in sample if _share([cell], form)}
        for form in (*DATE_FORMATS, *(f"{day}{clock}" for day in DATE_FORMATS for clock in TIMES))
    }
    first = max(read, key=lambda form: len(read[form]))
    second = max(read, key=lambda form: len(read[form] - read[first]))
    together = read[first] | read[second]
    if not read[second] - read[first] or len(together) < MOST * len(sample):
        return ""
    return f'"{first}" and "{second}"'


def date_forms(cells: Sequence[str], *, named: bool = True) -> list[str]:
    """Return the formats that read nearly all cells as days of 1900 to 2100; the best ones."""
    if not cells:
        return []
    formats = [DATE_FORMAT, *DATE_FORMATS]
    if any(":" in cell for cell in cells):
        formats = [f"{day}{clock}" for day in ("%Y-%m-%d", *DATE_FORMATS) for clock in TIMES]
    sample = cells[:: math.ceil(len(cells) / LOOKED_AT_AS_DATES)]
    known = (*formats, *(NAMED_DATE_FORMATS if named else ()))
    likely = [form for form in known if _share(sample, form) >= MOST]
    shares = {form: _share(cells, form) for form in likely}
    best = max(shares.values(), default=0.0)
    if best < MOST:
        return []
    found = [form for form in likely if shares[form] == best]
    written = [form for form in found if form not in NAMED_DATE_FORMATS]
    return written[:3] or found[:1]


def cells_of(column: pd.Series) -> list[str]:
    """Return distinct values as text; values of a text file unchanged."""
    distinct = column.dropna().unique()[:LOOKED_AT]
    return [str(value) for value in distinct]


def _share(cells: Collection[str], form: str) -> float:
    years = COUNTED_YEARS if form in NAMED_DATE_FORMATS else PLAUSIBLE_YEARS
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
    return bool(cells) and sum(bool(holds(cell)) for cell in cells) >= MOST * len(cells)


def _yaml(cells: Sequence[str]) -> str:
    return json.dumps(list(cells), ensure_ascii=False)
