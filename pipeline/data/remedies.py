"""What helps where cells are no numbers or dates: the line for ``ml.yaml``, or what to write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from pipeline.config import NAMED_DATE_FORMATS
from pipeline.data.names import BLANKS
from pipeline.data.written_forms import day_of, number_form

if TYPE_CHECKING:
    import pandas as pd

LOOKED_AT = 1000
"""Distinct cells that a remedy is made from."""
MOST = 0.9
"""Share of them that has to have one form."""
PLAUSIBLE_YEARS = range(1900, 2101)
MARKERS = frozenset(
    {
        *("#n/a", "#na", "#n/v", "#nv", "#value!", "#wert!", "#div/0!", "#ref!", "#name?", "#num!"),
        *("#null!", "n/a", "na", "n.a.", "n.a", "nan", "nil", "none", "null", "missing", "unknown"),
        *("undefined", "nat", "tbd", "k.a.", "<na>", "(null)", "(blank)", "-nan", "\\n"),
    }
)
DATE_FORMATS = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%Y%m%d", "%d%m%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%y/%m/%d"),
    *("%d %b %Y", "%d-%b-%Y", "%d/%b/%Y", "%d-%b-%y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
    *("%b %d %Y", "%a %b %d %Y", "%a, %d %b %Y", "%Y-%b-%d", "%d. %B %Y"),
)
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
WORDS = frozenset({"yes", "no", "y", "n", "on", "off", "t", "f"})
INFINITE = frozenset({"inf", "-inf", "+inf", "infinity", "-infinity", "∞"})


def number_remedy(
    cells: Sequence[str],
    others: Sequence[str] = (),
    *,
    label: bool = False,
    fixed: bool = False,
) -> str:
    """Return what helps where these cells should be numbers.

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
    if _all(values, lambda cell: day_of(cell, "%Y-%m-%d") or date_forms([cell], named=False)):
        return "a date is no number: name the column in problem.time or problem.drop"
    if _all(values, lambda cell: number_form(".", None).fullmatch(cell.replace("\u2212", "-"))):
        return "write the minus sign as '-'"
    if _all(values, lambda cell: cell.lower() in INFINITE):
        return "infinite numbers are none: correct them where the data are made"
    if _all(values, lambda cell: cell.lower() in WORDS) and not others:
        return "write 1 and 0, or name the column in problem.categorical"
    units = {
        match["after"] or match["before"] for cell in values if (match := UNIT.fullmatch(cell))
    }
    if units and _all(values, UNIT.fullmatch):
        shown = ", ".join(f"'{unit.strip()}'" for unit in sorted(units)[:3])
        return f"write the number without {shown} where the data are made"
    if _all(values, lambda cell: re.fullmatch(r"\(\s*[\d.,]+\s*\)|[\d.,]+\s*-", cell)):
        return "write negative numbers with a minus sign before them"
    if fixed or others:
        return "correct the cells where the data are made"
    return (
        "if it is text, name the column in problem.categorical, in problem.drop, or as "
        "problem.entity; else correct the cells"
    )


def date_remedy(cells: Sequence[str], others: Sequence[str] = ()) -> str:
    """Return the ``date_format`` that reads these cells, both where a day and month could change.

    Args:
        cells: distinct ones that are no days as YYYY-MM-DD.
        others: distinct ones of the column that are.
    """
    written = [cell.strip(BLANKS) for cell in cells[:LOOKED_AT]]
    values = [cell for cell in written if not _is_marker(cell)]
    if values and others:
        return "write them as the other cells are: YYYY-MM-DD"
    forms = date_forms(values)
    if not forms:
        if not values:
            return (
                f"if it means a missing value, set data.source.na_values to {_yaml(written[:10])}"
            )
        return "set data.source.date_format to how the dates are written, for example %d.%m.%Y"
    if len(forms) > 1:
        shown = " or ".join(f'"{form}"' for form in forms)
        return f"set data.source.date_format to {shown}: both read every cell, you know which"
    return f'set data.source.date_format to "{forms[0]}"'


def date_forms(cells: Sequence[str], *, named: bool = True) -> list[str]:
    """Return the formats that read nearly all cells as days of 1900 to 2100; the best ones."""
    if not cells:
        return []
    formats = [*DATE_FORMATS]
    if any(":" in cell for cell in cells):
        formats = [f"{day}{clock}" for day in ("%Y-%m-%d", *DATE_FORMATS) for clock in TIMES]
    sample = cells[:20]
    known = (*formats, *(NAMED_DATE_FORMATS if named else ()))
    likely = [form for form in known if _share(sample, form) >= MOST]
    shares = {form: _share(cells, form) for form in likely}
    best = max(shares.values(), default=0.0)
    if best < MOST:
        return []
    found = [form for form in likely if shares[form] == best]
    written = [form for form in found if form not in NAMED_DATE_FORMATS]
    return written[:2] or found[:1]


def cells_of(column: pd.Series) -> list[str]:
    """Return distinct values as text, those that stand in a file as they stand there."""
    distinct = column.dropna().unique()[:LOOKED_AT]
    return [str(value) for value in distinct]


def _share(cells: Collection[str], form: str) -> float:
    days = [day_of(cell, form) for cell in cells]
    return sum(day is not None and day.year in PLAUSIBLE_YEARS for day in days) / len(cells)


def _is_marker(cell: str) -> bool:
    return cell.lower() in MARKERS or not any(character.isalnum() for character in cell)


def _all(cells: Sequence[str], holds: Callable[[str], object]) -> bool:
    return bool(cells) and sum(bool(holds(cell)) for cell in cells) >= MOST * len(cells)


def _yaml(cells: Sequence[str]) -> str:
    return json.dumps(list(cells), ensure_ascii=False)
