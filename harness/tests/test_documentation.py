"""The reference page lists all supported syntax and steps."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from pytest_jenkinsfile import jvm

from . import replay

PAGE = Path(__file__).parents[1] / "docs" / "jenkinsfile-syntax.md"
ENGINE = jvm.SOURCES / "jenkinsfile"


def steps() -> set[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in ENGINE.glob("*Steps.groovy"))
    named = set(re.findall(r"Steps\.define\(name: '(\w+)'", text))
    for group in re.findall(r"\[([^\]]+)\]\.each \{ name ->\n\s+Steps\.define", text):
        named |= set(re.findall(r"'(\w+)'", group))
    return named


def syntax() -> set[str]:
    text = (ENGINE / "DeclarativeParser.groovy").read_text(encoding="utf-8")
    tables = text[text.index("static final") : text.index("private final")]
    return {one or other for one, other in re.findall(r"'(\w+)'|\W(\w+): \[", tables)}


@pytest.mark.parametrize("name", sorted(steps() | syntax()))
def test_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE.read_text(encoding="utf-8")


def test_the_number_of_recordings_is_stated() -> None:
    names = [path.stem for path in replay.RECORDINGS.glob("*.jenkinsfile")]
    counts = Counter(replay.recording(name)["jenkins"] for name in names)
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert (
        f"Jenkins 2.568.2 for {counts['2.568.2']} small scripts, of 2.541.2 for "
        f"{counts['2.541.2']} and of 2.516.2 for {counts['2.516.2']}; all are replayed" in text
    )
    assert sum(counts.values()) == len(names)
