"""The reference page names all that the harness understands."""

from __future__ import annotations

import re
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


def test_the_number_of_recordings_is_the_one_told() -> None:
    found = [path.stem for path in replay.RECORDINGS.glob("*.jenkinsfile")]
    second = [name for name in found if replay.recording(name)["jenkins"] == "2.541.2"]
    own = [name for name in found if replay.recording(name)["jenkins"] == "2.516.2"]
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"2.568.2 gave for {len(found) - len(second) - len(own)} small scripts" in text
    assert f"2.541.2 for {len(second)} and 2.516.2 for {len(own)} more" in text
