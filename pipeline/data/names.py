"""Names and texts as people see them: no blanks around, one Unicode form."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

BLANKS = (
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u200b\u200c\u200d\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)
"""Characters that leave no mark: white space of Unicode, and what has no width."""
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
