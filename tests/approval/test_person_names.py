"""Spellings of one name, and names that imitate another."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.approval.person_names import check_spelling, is_one_of, normalize_name
from ml_pipeline.core.errors import Refused

SPELLINGS = [
    "ASHA RAI",
    "asha rai",
    "Asha  Rai",
    " Asha\tRai ",
    "Asha\u00a0Rai",
    "Asha\u200b Rai",
    "As\u00adha Rai",
    "Asha Rai\ufeff",
    "Asha\u2060 Rai",
    "\u202eAsha Rai",
    "Asha Rai\ufe0f",
    "Asha\U000e0041 Rai",
    "\uff21\uff53\uff48\uff41 Rai",
    "\U0001d400\U0001d42c\U0001d421\U0001d41a Rai",
    "\u24b6sha Rai",
]


@pytest.mark.parametrize("name", SPELLINGS, ids=ascii)
def test_another_spelling_is_the_same_name(name: str) -> None:
    assert normalize_name(name) == normalize_name("Asha Rai")
    assert is_one_of(name, ["Bina Karki", "Asha Rai"])


@pytest.mark.parametrize("name", ["Asha Ray", "Asha", "", "\u0410\u0441ha Rai"], ids=ascii)
def test_a_different_name_does_not_match(name: str) -> None:
    assert not is_one_of(name, ["Asha Rai"])


@given(st.text(max_size=30))
def test_folding_again_changes_nothing(name: str) -> None:
    assert normalize_name(normalize_name(name)) == normalize_name(name)
    assert normalize_name(unicodedata.normalize("NFKC", name)) == normalize_name(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("\u0410sha Rai", r"mixes CYRILLIC and LATIN letters in one word"),
        ("Asha R\u03b1i", r"mixes GREEK and LATIN"),
        ("\u0531sha", r"mixes ARMENIAN and LATIN"),
        ("Asha\u200b Rai", r"invisible character U\+200B"),
        ("Asha\u200d Rai", r"invisible character U\+200D"),
        ("Asha \u202eRai", r"invisible character U\+202E"),
        ("Asha\u3164", r"invisible character U\+3164"),
        ("Asha\x00", r"invisible character U\+0000"),
    ],
)
def test_a_name_that_is_made_to_look_like_another_is_refused(name: str, why: str) -> None:
    with pytest.raises(Refused, match=why) as caught:
        check_spelling(name)
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    "name",
    [
        "Asha Rai",
        "आशा राई",
        "Ash O'Neil-Ñandú 2",
        "Иван Petrov",
        "山田たろう",
        "김철수",
        "asha@ex.org",
    ],
)
def test_common_names_are_accepted(name: str) -> None:
    check_spelling(name)
