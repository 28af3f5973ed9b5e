"""Names of artefacts and of key columns are spelled in one module."""

from __future__ import annotations

import ast
from pathlib import Path

import ml_pipeline
from ml_pipeline.core import artefacts

PACKAGE = Path(ml_pipeline.__file__).parent
FOLDERS = {artefacts.MODEL, artefacts.BUNDLE}
"""Plain words, which mean other things elsewhere."""
NAMES = {value for name, value in vars(artefacts).items() if name.isupper()} - FOLDERS


def literals(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} & NAMES


def test_no_other_module_spells_a_name():
    repeated = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        found = literals(path)
        if found and module != "core/artefacts.py":
            repeated[module] = sorted(found)
    assert repeated == {}


def test_names_are_different():
    values = [value for name, value in vars(artefacts).items() if name.isupper()]
    assert len(values) == len(set(values))
