"""Normalisation of names and texts: no surrounding blanks, one Unicode form."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from ml_pipeline.core.whitespace import BLANKS

if TYPE_CHECKING:
    import pandas as pd

INDEX_NAME = re.compile(r"Unnamed: \d+(_level_\d+)?|__index_level_\d+__|level_\d+")
"""Names that pandas gives to index columns and to columns without a name."""


def plain_name(name: str) -> str:
    """Return a column name without surrounding blanks, in Unicode form NFC."""
    return unicodedata.normalize("NFC", str(name)).strip(BLANKS)


def is_index_name(name: str) -> bool:
    return INDEX_NAME.fullmatch(name) is not None


def without_blanks(column: pd.Series) -> pd.Series:
    """Return a text column with values stripped of blanks; values of blanks only are missing."""
    stripped: pd.Series = column.str.strip(BLANKS)
    empty = stripped == ""
    return stripped.mask(empty) if empty.any() else stripped


def spelling_key(value: str) -> str:
    """Return a key that is equal for texts that differ only in case, blanks or Unicode form."""
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split())
