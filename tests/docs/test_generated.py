"""The generated pages agree with the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def generated(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.syspath_prepend(ROOT / "docs")
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages: dict[str, str] = module.pages()
    return pages


def test_generated_pages_have_not_drifted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in generated(monkeypatch).items():
        present = (ROOT / "docs/reference" / name).read_text()
        assert present == content, f"{name}: run '.venv/bin/python docs/generate.py'"
