"""Advisory checks of data: dropped columns, row numbers, categories, placeholder dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.data.rules import columns_of
from ml_pipeline.data.sources import index_columns
from ml_pipeline.data.text_normalization import spelling_key
from ml_pipeline.data.typed_columns import as_dates, as_numbers, as_text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.config import DataSection
    from ml_pipeline.data.source_rows import SourceRows
    from ml_pipeline.problem import Problem

MANY_CATEGORIES = 1000
"""Number of categories from which a feature is reported with its memory."""
QUOTED = re.compile(r"(['\u2018\u2019\u201c\u201d`]).+['\u2018\u2019\u201c\u201d`]", re.DOTALL)
SCIENTIFIC = r"\d([.,]\d+)?[eE]\+\d+"
PLACEHOLDER_DATES = (
    "0001-01-01",
    "1753-01-01",
    "1899-12-30",
    "1899-12-31",
    "1900-01-01",
    "1970-01-01",
)
MIN_GAP_YEARS = 10
"""Years between a placeholder for an unknown date and the earliest other date, at least."""
FIRST_ROWS = 1000
EXACT_FLOAT32_LIMIT = 2**24
"""A float32 represents every integer up to this exactly."""
MIN_DISTINCT_SHARE = 0.9
MIN_NUMBERED_ROWS = 20
"""Fewest rows for which a column 0, 1, 2, ... is reported as a row number."""


def observe(
    source: SourceRows, frame: pd.DataFrame, problem: Problem, data: DataSection
) -> tuple[Check, ...]:
    """Return the advisory checks of the columns.

    Args:
        source: the rows of the source.
        frame: the same rows in the problem's columns, not sampled.
        problem: determines which columns are features.
        data: ``columns`` maps names.
    """
    notes = list(source.notes)
    for name in index_columns(source.frame, problem, data):
        notes.append(f"column '{name}' is left out: an index that pandas wrote")  # noqa: PERF401
    dropped = [_note("columns_read", note) for note in notes]
    own = {column.name for column in problem.columns()}
    features = problem.feature_columns([str(name) for name in frame.columns])
    row_numbers = [
        _row_number(column.name)
        for column in features
        if column.kind != "text" and column.name not in own and _counts_rows(frame[column.name])
    ]
    uninformative = [
        check
        for column in features
        if column.kind != "text" and column.name not in own and column.name in frame.columns
        for check in _without_information(column.name, frame[column.name])
    ]
    categories = [
        check
        for column in features
        if column.kind == "text" and column.name in frame.columns
        for check in _categories(column.name, frame[column.name])
    ]
    texts = [
        column.name for column in columns_of(problem, [*frame.columns]) if column.kind == "text"
    ]
    quoted = [check for name in texts for check in _quoted(name, frame[name])]
    spellings = [check for name in texts for check in _spellings(name, frame[name])]
    dates = [
        column.name for column in columns_of(problem, [*frame.columns]) if column.kind == "date"
    ]
    placeholders = [check for name in dates for check in _placeholders(name, frame[name])]
    scientific = [check for name in texts for check in _scientific(name, frame[name])]
    return (
        *row_numbers,
        *scientific,
        *placeholders,
        *uninformative,
        *dropped,
        *categories,
        *quoted,
        *spellings,
    )


def notes_of(checks: Sequence[Check]) -> list[str]:
    """Return the texts of the advisory checks."""
    return [check.why for check in checks if not check.required and check.why]


def _note(name: str, text: str) -> Check:
    return Check(
        name=name,
        verdict=Verdict.INCONCLUSIVE,
        required=False,
        observed=text,
        expected="one row per line, one name per column",
        why=text,
    )


def _counts_rows(column: pd.Series) -> bool:
    """Return whether a column holds 0, 1, 2, ... or 1, 2, 3, ... in any order."""
    import numpy as np

    if len(column) < MIN_NUMBERED_ROWS or column.isna().any():
        return False
    numbers = as_numbers(column).to_numpy()
    least, most = numbers.min(), numbers.max()
    if (
        least not in (0, 1)
        or most - least != len(numbers) - 1
        or (numbers != numbers.round()).any()
    ):
        return False
    return bool((np.bincount((numbers - least).astype(np.int64)) == 1).all())


def _row_number(name: str) -> Check:
    return Check(
        name=f"{name}_no_row_number",
        verdict=Verdict.INCONCLUSIVE,
        required=False,
        observed="each row number once",
        expected="a feature that describes its row",
        why=f"column '{name}' is a feature and numbers the rows: if it is a row number or an "
        "identifier, name it in problem.drop or as problem.entity",
    )


def _without_information(name: str, column: pd.Series) -> list[Check]:
    """Report a feature that is empty, constant, or an identifier that float32 does not keep."""
    import numpy as np

    numbers = as_numbers(column.head(FIRST_ROWS)).to_numpy()
    low, high = np.nanmin(numbers, initial=np.inf), np.nanmax(numbers, initial=-np.inf)
    if len(column) > FIRST_ROWS and low < high < EXACT_FLOAT32_LIMIT and -low < EXACT_FLOAT32_LIMIT:
        return []  # nearly all columns of a large table end here
    if (
        len(column) > FIRST_ROWS
        and low < high
        and not _equal_in_float32(numbers[~np.isnan(numbers)])
    ):
        return []
    numbers = as_numbers(column).dropna().to_numpy()
    why = ""
    if not len(numbers):
        why = "has no values" if column.isna().all() else ""
    elif len(column) > 1 and numbers.min() == numbers.max() and len(numbers) == len(column):
        why = f"has only the value {numbers[0]:g}"
    if why:
        return [_note(f"{name}_varies", f"column '{name}' is a feature and {why}")]
    if not _equal_in_float32(numbers):
        return []
    distinct, left = len(np.unique(column.dropna())), len(np.unique(numbers.astype(np.float32)))
    return [
        _note(
            f"{name}_distinct",
            f"'{name}' is a feature of {distinct:,} different integers, of which {left:,} stay "
            "different in float32, which models read; if it is an identifier, name it in "
            "problem.drop",
        )
    ]


def _equal_in_float32(numbers: NDArray[np.float64]) -> bool:
    """Return whether different integers become equal in float32, which models read."""
    import numpy as np

    if not len(numbers) or np.abs(numbers).max() < EXACT_FLOAT32_LIMIT:
        return False
    if (numbers != numbers.round()).any() or numbers.min() == numbers.max():
        return False
    left = len(np.unique(numbers.astype(np.float32)))
    return left < MIN_DISTINCT_SHARE * len(np.unique(numbers))


def _categories(name: str, column: pd.Series) -> list[Check]:
    count = column.nunique()
    if count < MANY_CATEGORIES:
        return []
    megabytes = count * len(column) * 4 / 1e6
    size = f"{megabytes:,.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:,.1f} GB"
    why = (
        f"'{name}' has {count:,} categories, each a column of the model: {len(column):,} rows take "
        f"up to {size} in training; group its values, or name it in problem.drop"
    )
    return [
        Check(
            name=f"{name}_categories",
            verdict=Verdict.INCONCLUSIVE,
            required=False,
            observed=count,
            expected=f"fewer than {MANY_CATEGORIES:,} categories",
            why=why,
        )
    ]


def _scientific(name: str, column: pd.Series) -> list[Check]:
    """Report identifiers that a spreadsheet wrote as 9.00E+15, which lost their digits."""
    values = as_text(column).dropna()
    hits = values[values.str.fullmatch(SCIENTIFIC)]
    if hits.empty:
        return []
    return [
        _note(
            f"{name}_exact",
            f"'{name}' holds {hits.iloc[0]!r} in {len(hits):,} rows: a spreadsheet rounded "
            "numbers, so different ones look equal; write them as text in the data source",
        )
    ]


def _placeholders(name: str, column: pd.Series) -> list[Check]:
    """Report placeholder dates, such as 1900-01-01 years before all others."""
    import numpy as np

    days = as_dates(column).dropna().to_numpy(dtype="datetime64[D]")
    known = np.isin(days, np.array(PLACEHOLDER_DATES, dtype="datetime64[D]"))
    others = days[~known]
    if not known.any() or not len(others):
        return []
    if days[known].max() + np.timedelta64(MIN_GAP_YEARS * 365, "D") > others.min():
        return []
    return [
        _note(
            f"{name}_known",
            f"'{name}' is {days[known][0]} in {known.sum():,} rows, {others.min()} or later "
            "in all others: if it means an unknown date, list it in data.source.na_values",
        )
    ]


def _quoted(name: str, column: pd.Series) -> list[Check]:
    """Report values that include quotes other than those of CSV."""
    first = as_text(column.head(FIRST_ROWS)).dropna().unique()
    if not all(QUOTED.fullmatch(str(value)) for value in first):
        return []
    values = as_text(column).dropna().unique()
    if not len(values) or not all(QUOTED.fullmatch(str(value)) for value in values):
        return []
    return [
        _note(
            f"{name}_quoted",
            f"values of '{name}' include their quotes, such as {values[0]}: CSV quotes with \", "
            "write the file that way, or requests need these quotes too",
        )
    ]


def _spellings(name: str, column: pd.Series) -> list[Check]:
    """Report values that differ only in case, blanks or Unicode form, and count as different."""
    first: dict[str, str] = {}
    similar: list[tuple[str, str]] = []
    for value in as_text(column).dropna().unique():
        word = str(value)
        other = first.setdefault(spelling_key(word), word)
        if other != word:
            similar.append((other, word))
    if not similar:
        return []
    shown = ", ".join(f"'{one}' and '{two}'" for one, two in similar[:3])
    return [
        Check(
            name=f"{name}_spelling",
            verdict=Verdict.INCONCLUSIVE,
            required=False,
            observed=len(similar),
            expected="values that differ in more than case or blanks",
            why=f"values of '{name}' that differ only in case or blanks count as different: "
            f"{shown}{' and more' if len(similar) > 3 else ''}",
        )
    ]
