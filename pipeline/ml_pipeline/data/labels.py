"""Comparison of labels with ``problem.positive``, the value that means 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.data.typed_columns import as_numbers, as_text

if TYPE_CHECKING:
    import pandas as pd

TRUE_WORDS = frozenset({"yes", "true", "y", "t", "on", "1", "1.0"})
FALSE_WORDS = frozenset({"no", "false", "n", "f", "off", "0", "0.0"})
"""Accepted labels where ``positive`` is a YAML boolean, such as an unquoted yes."""


def comparable_labels(values: pd.Series, positive: bool | str | float) -> pd.Series:
    """Return labels in a comparable form: numbers, or text in which 1.0 and 1 are equal.

    Where ``positive`` is a number, text among numbers stays text: it is a label of its own.
    """
    if not isinstance(positive, bool | str):
        numbers = as_numbers(values)
        if bool((numbers.notna() == values.notna()).all()):
            return numbers
        return numbers.astype(object).where(numbers.notna(), values.astype(object))
    words = as_text(values).astype(object)
    words = words.where(words.notna(), None)
    if isinstance(positive, bool):
        distinct = {word.lower() for word in words.dropna().unique()}
        if not distinct <= TRUE_WORDS | FALSE_WORDS:
            return words
        return words.map(lambda word: str(word.lower() in TRUE_WORDS).lower(), na_action="ignore")
    return words.map(_plain, na_action="ignore")


def comparable_positive(positive: bool | str | float) -> str | float:
    """Return the positive value in the form of :func:`comparable_labels`."""
    if isinstance(positive, bool):
        return str(positive).lower()
    return _plain(positive) if isinstance(positive, str) else positive


def one_of_two(values: pd.Series, positive: bool | str | float) -> pd.Series:
    """Return which labels are ``positive`` or the most frequent other value.

    False everywhere if ``positive`` does not occur. Missing labels count as True.
    """
    labels = comparable_labels(values, positive)
    missing = labels.isna()
    is_positive = labels == comparable_positive(positive)
    if not is_positive.any():
        return missing
    counts = labels[~missing & ~is_positive].value_counts()
    if counts.empty:
        return missing | is_positive
    most = counts[counts == counts.iloc[0]].index
    result: pd.Series = missing | is_positive | (labels == min(most, key=str))
    return result


def shown_labels(values: pd.Series, most: int = 5) -> str:
    """Return the distinct values with their counts, the most frequent first."""
    counts = as_text(values).dropna().value_counts()
    ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    shown = ", ".join(f"{str(value)[:40]} ({count:,})" for value, count in ordered[:most])
    return shown + (f" and {len(ordered) - most:,} more" if len(ordered) > most else "")


def _plain(word: str) -> str:
    """Return an integer without its ``.0``, and other text unchanged."""
    return word[:-2] if word.endswith(".0") and word[:-2].isdigit() else word
