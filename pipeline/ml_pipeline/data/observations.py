"""Advisory checks of data: columns that are left out, row numbers, categories, placeholders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.data.rules import columns_of
from ml_pipeline.data.sources import index_columns
from ml_pipeline.data.text_normalization import same_but_for_spelling
from ml_pipeline.data.typed_columns import as_dates, as_numbers, as_text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.config import DataSection
    from ml_pipeline.data.source_rows import SourceRows
    from ml_pipeline.problem import Problem

MANY_CATEGORIES = 1000
"""From here on a categorical feature is named with its cost."""
QUOTED = re.compile(r"(['\u2018\u2019\u201c\u201d`]).+['\u2018\u2019\u201c\u201d`]", re.DOTALL)
SHORTENED = r"\d([.,]\d+)?[eE]\+\d+"
PLACEHOLDERS = ("0001-01-01", "1753-01-01", "1899-12-30", "1899-12-31", "1900-01-01", "1970-01-01")
YEARS_BEFORE = 10
"""Days by which programs write that a date is not known, where all others are so much later."""
FIRST_ROWS = 1000
WHOLE_IN_FLOAT32 = 2**24
"""From here on a float32 cannot tell all neighbouring whole numbers apart."""
MIN_DISTINCT_SHARE = 0.9
MIN_NUMBERED_ROWS = 20
"""Rows from which a column that counts them is a row number."""


def observe(
    source: SourceRows, frame: pd.DataFrame, problem: Problem, data: DataSection
) -> tuple[Check, ...]:
    """Return checks on the columns of all rows; all are advisory.

    Args:
        source: the rows as they were read.
        frame: the same rows in the problem's columns, not sampled.
        problem: says which columns are features.
        data: ``columns`` maps names.
    """
    notes = list(source.notes)
    for name in index_columns(source.frame, problem, data):
        notes.append(f"column '{name}' is left out: an index that pandas wrote")  # noqa: PERF401
    left_out = [_note("columns_read", note) for note in notes]
    own = {column.name for column in problem.columns()}
    features = problem.feature_columns([str(name) for name in frame.columns])
    numbered = [
        _row_number(column.name)
        for column in features
        if column.kind != "text" and column.name not in own and _counts_rows(frame[column.name])
    ]
    telling_nothing = [
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
    shortened = [check for name in texts for check in _shortened(name, frame[name])]
    return (
        *numbered,
        *shortened,
        *placeholders,
        *telling_nothing,
        *left_out,
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
        expected="a row a line, a column a name",
        why=text,
    )


def _counts_rows(column: pd.Series) -> bool:
    """Tell whether a column holds 0, 1, 2, ... or 1, 2, 3, ..., in whatever order."""
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
        observed="each number of the rows once",
        expected="a feature that says something of its row",
        why=f"column '{name}' is a feature and counts the rows: if it is a row number or an "
        "identifier, name it in problem.drop or as problem.entity",
    )


def _without_information(name: str, column: pd.Series) -> list[Check]:
    """Name a feature without values, of one value, or of identifiers that float32 makes equal."""
    import numpy as np

    numbers = as_numbers(column.head(FIRST_ROWS)).to_numpy()
    low, high = np.nanmin(numbers, initial=np.inf), np.nanmax(numbers, initial=-np.inf)
    if len(column) > FIRST_ROWS and low < high < WHOLE_IN_FLOAT32 and -low < WHOLE_IN_FLOAT32:
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
        why = "has no value" if column.isna().all() else ""
    elif len(column) > 1 and numbers.min() == numbers.max() and len(numbers) == len(column):
        why = f"has the value {numbers[0]:g} alone"
    if why:
        return [_note(f"{name}_varies", f"column '{name}' is a feature and {why}")]
    if not _equal_in_float32(numbers):
        return []
    apart, left = len(np.unique(column.dropna())), len(np.unique(numbers.astype(np.float32)))
    return [
        _note(
            f"{name}_distinct",
            f"'{name}' is a feature of {apart:,} whole numbers that a model (float32) cannot tell "
            f"apart: {left:,} are left; if it is an identifier, name it in problem.drop",
        )
    ]


def _equal_in_float32(numbers: NDArray[np.float64]) -> bool:
    """Tell whether whole numbers that differ become equal as a model reads them."""
    import numpy as np

    if not len(numbers) or np.abs(numbers).max() < WHOLE_IN_FLOAT32:
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


def _shortened(name: str, column: pd.Series) -> list[Check]:
    """Name identifiers that a spreadsheet wrote as 9.00E+15: their digits are lost."""
    values = as_text(column).dropna()
    hits = values[values.str.fullmatch(SHORTENED)]
    if hits.empty:
        return []
    return [
        _note(
            f"{name}_exact",
            f"'{name}' holds {hits.iloc[0]!r} in {len(hits):,} rows: a spreadsheet shortened "
            "numbers, so different ones look alike; write them as text where the data are made",
        )
    ]


def _placeholders(name: str, column: pd.Series) -> list[Check]:
    """Name days that stand for none, such as 1900-01-01 years before all others."""
    import numpy as np

    days = as_dates(column).dropna().to_numpy(dtype="datetime64[D]")
    known = np.isin(days, np.array(PLACEHOLDERS, dtype="datetime64[D]"))
    others = days[~known]
    if not known.any() or not len(others):
        return []
    if days[known].max() + np.timedelta64(YEARS_BEFORE * 365, "D") > others.min():
        return []
    return [
        _note(
            f"{name}_known",
            f"'{name}' is {days[known][0]} in {known.sum():,} rows, {others.min()} or later "
            "in all others: if it stands for an unknown date, list it in data.source.na_values",
        )
    ]


def _quoted(name: str, column: pd.Series) -> list[Check]:
    """Name text in quotes that are no quotes of CSV: they are parts of its values."""
    first = as_text(column.head(FIRST_ROWS)).dropna().unique()
    if not all(QUOTED.fullmatch(str(value)) for value in first):
        return []
    values = as_text(column).dropna().unique()
    if not len(values) or not all(QUOTED.fullmatch(str(value)) for value in values):
        return []
    return [
        _note(
            f"{name}_quoted",
            f"values of '{name}' stand in quotes that are part of them, such as {values[0]}: CSV "
            'quotes with ", write the file so, or requests need these quotes too',
        )
    ]


def _spellings(name: str, column: pd.Series) -> list[Check]:
    """Name values that differ in case, blanks or Unicode form alone: they stay apart."""
    first: dict[str, str] = {}
    alike: list[tuple[str, str]] = []
    for value in as_text(column).dropna().unique():
        word = str(value)
        other = first.setdefault(same_but_for_spelling(word), word)
        if other != word:
            alike.append((other, word))
    if not alike:
        return []
    shown = ", ".join(f"'{one}' and '{two}'" for one, two in alike[:3])
    return [
        Check(
            name=f"{name}_spelling",
            verdict=Verdict.INCONCLUSIVE,
            required=False,
            observed=len(alike),
            expected="values that differ in more than case or blanks",
            why=f"values of '{name}' that differ in case or blanks alone count as different: "
            f"{shown}{' and more' if len(alike) > 3 else ''}",
        )
    ]
