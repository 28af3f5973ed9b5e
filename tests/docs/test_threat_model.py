"""Every guarantee of the threat model names its tests, which exist."""

from __future__ import annotations

import pytest

from tests.docs.test_faults import ROOT, TEST, names_of

PAGE = ROOT / "docs/explanation/threat-model.md"
ACTORS = ("pushes code", "starts builds", "approves", "administers", "reaches the server")


def guarantees() -> list[tuple[str, str]]:
    """Return the rows of the tables that are headed ``guarantee | test``."""
    found, inside = [], False
    for line in PAGE.read_text().splitlines():
        if not line.startswith("|"):
            inside = False
        elif line == "| guarantee | test |":
            inside = True
        elif inside and not line.startswith("|---"):
            guarantee, test = (cell.strip() for cell in line.strip("|").split("|"))
            found.append((guarantee, test))
    return found


def test_rows_are_found() -> None:
    assert len(guarantees()) > 25
    text = PAGE.read_text()
    assert all(f"**{actor}**" in text for actor in ACTORS)


@pytest.mark.parametrize("row", guarantees(), ids=lambda row: row[0][:60])
def test_a_guarantee_names_tests_that_exist(row: tuple[str, str]) -> None:
    guarantee, shown = row
    assert guarantee
    named = TEST.findall(shown)
    assert named, "no test"
    assert TEST.sub("", shown).strip() == "", "every test as `tests/FILE.py::NAME`"
    for path, name in named:
        assert name in names_of(path), f"{path} has no {name}"


def test_every_role_has_guarantees_and_remaining_risks() -> None:
    sections = PAGE.read_text().split("\n## Against ")[1:]
    assert len(sections) >= 6
    for section in sections:
        assert "| guarantee | test |" in section
        assert "**Only " in section or "**What remains.**" in section
