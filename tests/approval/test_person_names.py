"""Which spellings are one name, and which names are made to look like another."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.approval.person_names import check_spelling, folded, is_one_of
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
    assert folded(name) == folded("Asha Rai")
    assert is_one_of(name, ["Bina Karki", "Asha Rai"])


@pytest.mark.parametrize("name", ["Asha Ray", "Asha", "", "\u0410\u0441ha Rai"], ids=ascii)
def test_another_name_is_another_name(name: str) -> None:
    assert not is_one_of(name, ["Asha Rai"])


@given(st.text(max_size=30))
def test_folding_again_changes_nothing(name: str) -> None:
    assert folded(folded(name)) == folded(name)
    assert folded(unicodedata.normalize("NFKC", name)) == folded(name)


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
def test_names_that_people_have_are_taken(name: str) -> None:
    check_spelling(name)
