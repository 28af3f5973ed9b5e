"""What one module of core does is done by no other module."""

from __future__ import annotations

import ast
from pathlib import Path

import ml_pipeline
import pytest

PACKAGE = Path(ml_pipeline.__file__).parent


def names(path: Path) -> set[str]:
    """Return the names, attributes and imported modules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("filelock", "core/locks.py"),
        ("SessionOptions", "core/onnx_session.py"),
        ("addfile", "core/tar_archive.py"),
        ("create_time", "core/process_identity.py"),
    ],
)
def test_only_one_module_uses(name: str, module: str) -> None:
    using = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if name in names(path)
    }
    assert using == {module}
