"""Every row of the faults names a test, and every test that a page names exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reference/faults.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")
FILE = re.compile(r"`(tests/[\w/]+\.py)`")
EXIT = re.compile(r"|-|\d(, \d)*")


def rows() -> list[list[str]]:
    """Return the cells of each row, without the heads."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not row[0].startswith(("fault", "---"))]


def names_in(tree: ast.AST, prefix: str = "") -> Iterator[str]:
    """Yield the names of a module's tests, those of a class behind its name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            yield from names_in(node, f"{prefix}{node.name}::")
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield prefix + node.name


@cache
def names_of(path: str) -> frozenset[str]:
    return frozenset(names_in(ast.parse((ROOT / path).read_text())))


def test_rows_are_found() -> None:
    assert len(rows()) > 90
    known = names_of("tests/targets/test_damaged_bundle.py")
    assert "TestReleased::test_a_damaged_copy_is_replaced" in known


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_names_the_outcome_and_tests_that_exist(row: list[str]) -> None:
    fault, code, happens, shown = row
    assert fault
    assert happens
    assert EXIT.fullmatch(code), code
    named = TEST.findall(shown)
    assert named, "no test"
    assert TEST.sub("", shown).strip() == "", "every test as `tests/FILE.py::NAME`"
    for path, name in named:
        assert name in names_of(path), f"{path} has no {name}"


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("docs/reference/*.md")), ids=lambda page: page.name
)
def test_files_of_tests_that_pages_name_exist(page: Path) -> None:
    text = page.read_text()
    for path in [*FILE.findall(text), *(found[0] for found in TEST.findall(text))]:
        assert (ROOT / path).is_file(), path
