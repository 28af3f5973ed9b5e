"""Names of people: equal spellings, and spellings that imitate another name.

Unicode Technical Standard 39 (security mechanisms): compatibility normalisation, ignorable
characters, and words that mix scripts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from ml_pipeline.core.errors import Refused

ALLOWED_TOGETHER = frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "HANGUL"})
"""Scripts that one word may hold together (UTS 39, highly restrictive level)."""
INVISIBLE = frozenset({"Cc", "Cf", "Cn", "Co", "Cs"})
IGNORABLE = frozenset(
    (
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
        *(*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)),
    )
)
"""Invisible characters outside Unicode's format category."""


def normalize_name(name: str) -> str:
    """Return the normal form of a name; two names are the same if their forms are equal.

    Differences in compatibility forms (NFKC), case, invisible characters and white space are
    removed.
    """
    plain = unicodedata.normalize("NFKC", strip_invisible(name)).casefold()
    return " ".join(strip_invisible(unicodedata.normalize("NFKC", plain)).split())


def strip_invisible(text: str) -> str:
    """Return the text without invisible characters."""
    return "".join(letter for letter in text if letter in "\t\n\r" or not _is_invisible(letter))


def is_one_of(name: str, others: Iterable[str]) -> bool:
    """Return whether the name, in any spelling, is among the others."""
    normal = normalize_name(name)
    return any(normalize_name(other) == normal for other in others)


def check_spelling(name: str) -> None:
    """Refuse a name that may imitate another one.

    Raises:
        Refused: it contains an invisible character, or a word in letters of two scripts.
    """
    hidden = next((letter for letter in name if _is_invisible(letter)), None)
    if hidden is not None:
        raise Refused(
            f"the name {name!a} contains the invisible character U+{ord(hidden):04X}",
            expected="a name of visible characters",
        )
    for word in unicodedata.normalize("NFKC", name).split():
        scripts = {_script(letter) for letter in word if letter.isalpha()}
        if len(scripts) > 1 and not scripts <= ALLOWED_TOGETHER:
            raise Refused(
                f"the name {name!a} mixes {' and '.join(sorted(scripts))} letters in one word",
                expected="a name in letters of one script",
            )


def _is_invisible(letter: str) -> bool:
    return unicodedata.category(letter) in INVISIBLE or ord(letter) in IGNORABLE


def _script(letter: str) -> str:
    """Return the script by the first word of the letter's name, as in CYRILLIC SMALL LETTER A."""
    return unicodedata.name(letter, "UNKNOWN").partition(" ")[0]
