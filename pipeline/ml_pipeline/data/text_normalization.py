"""Normalisation of names and texts: no surrounding blanks, one Unicode form."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from ml_pipeline.core.whitespace import BLANKS

if TYPE_CHECKING:
    import pandas as pd

INDEX_NAME = re.compile(r"Unnamed: \d+(_level_\d+)?|__index_level_\d+__|level_\d+")
"""What pandas calls the column of an index, and columns without a name."""


def plain_name(name: str) -> str:
    """Return a column's name without blanks around it, in Unicode's composed form."""
    return unicodedata.normalize("NFC", str(name)).strip(BLANKS)


def is_index_name(name: str) -> bool:
    return INDEX_NAME.fullmatch(name) is not None


def without_blanks(column: pd.Series) -> pd.Series:
    """Return a text column without blanks around its values; nothing but blanks is missing."""
    stripped: pd.Series = column.str.strip(BLANKS)
    empty = stripped == ""
    return stripped.mask(empty) if empty.any() else stripped


def same_but_for_spelling(value: str) -> str:
    """Return what two texts share that differ in case, blanks or Unicode form alone."""
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split())
