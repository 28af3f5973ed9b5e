"""What ml_pipeline exports, and that examples and documentation import nothing else of it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import ml_pipeline
import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(?:python|py)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def sources() -> dict[str, str]:
    """Return the Python that users are shown: examples, and code blocks of the documentation."""
    found = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(ROOT.glob("examples/**/*.py"))
        if not {"build", ".ml"} & set(path.parts)
    }
    for page in sorted(
        [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    ):
        for number, block in enumerate(FENCE.findall(page.read_text(encoding="utf-8")), start=1):
            found[f"{page.relative_to(ROOT).as_posix()} block {number}"] = block
    return found


SOURCES = sources()


def imported(source: str) -> set[tuple[str, str]]:
    """Return the modules of ml_pipeline that a source imports, each with the name taken from it."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set()  # a signature, say
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "", alias.name) for alias in node.names}
    return {(module, name) for module, name in found if module.partition(".")[0] == "ml_pipeline"}


def test_names_are_sorted_and_unique() -> None:
    assert list(ml_pipeline.__all__) == sorted(set(ml_pipeline.__all__))


@pytest.mark.parametrize("name", ml_pipeline.__all__)
def test_a_public_name_resolves_and_is_documented(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    import python_api

    assert python_api.docstring_of(name), f"{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ml_pipeline' has no attribute 'Nothing'"):
        _ = ml_pipeline.Nothing


def test_a_star_import_has_the_public_names_and_no_room() -> None:
    code = "from ml_pipeline import *; print(sorted(n for n in dir() if not n.startswith('__')))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ast.literal_eval(done.stdout) == sorted(ml_pipeline.__all__)


def test_the_package_alone_imports_no_room() -> None:
    code = (
        "import sys, ml_pipeline; print([n for n in sys.modules if n.startswith('ml_pipeline.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_sources_are_found() -> None:
    assert "examples/nepse/features/nepse.py" in SOURCES
    assert any(name.startswith("docs/reference/features.md") for name in SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_users_import_public_names_only(name: str) -> None:
    for module, imported_name in imported(SOURCES[name]):
        assert module == "ml_pipeline", f"{name} imports {module}"
        assert imported_name in ("", *ml_pipeline.__all__), f"{name} imports {imported_name}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "from ml_pipeline import feature, Rule",
            {("ml_pipeline", "feature"), ("ml_pipeline", "Rule")},
        ),
        ("def f():\n    import ml_pipeline.data.sql", {("ml_pipeline.data.sql", "")}),
        ("from ml_pipeline.data import sql", {("ml_pipeline.data", "sql")}),
        ("import numpy, ml_pipelines", set()),
    ],
)
def test_imports_are_found(source: str, expected: set[tuple[str, str]]) -> None:
    assert imported(source) == expected
