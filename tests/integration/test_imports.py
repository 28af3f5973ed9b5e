"""A verb loads only what it needs: start-up is what people complain about."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

HEAVY = (
    "fairlearn", "great_expectations", "lightgbm", "matplotlib", "mlflow", "numpy", "onnx",
    "onnxmltools", "onnxruntime", "optuna", "pandas", "scipy", "skl2onnx", "sklearn", "statsmodels",
    "talib", "xgboost",
)  # fmt: skip
FRAMES = {"numpy", "pandas", "scipy"}
EXPECTED: tuple[tuple[tuple[str, ...], set[str]], ...] = (
    (("config", "show"), set()),
    (("lint",), set()),
    (("test",), set()),
    (("status",), set()),
    (("validate-data",), FRAMES | {"great_expectations"}),
    (("show", "validate-data"), set()),
    (
        ("train",),
        FRAMES | {"onnx", "onnxmltools", "onnxruntime", "sklearn", "talib", "xgboost"},
    ),
    (
        ("evaluate",),
        FRAMES | {"fairlearn", "matplotlib", "onnxruntime", "sklearn", "statsmodels", "talib"},
    ),
    (("package",), FRAMES | {"onnxruntime", "sklearn", "xgboost"}),
    (("register",), FRAMES | {"mlflow", "onnxruntime"}),
    (("gate",), FRAMES | {"mlflow", "onnxruntime", "statsmodels"}),
)

PROGRAM = f"""
import sys
from ml_pipeline import cli
code = cli.main(sys.argv[1:])
print("loaded", code, *(name for name in {HEAVY} if name in sys.modules))
"""


def test_each_verb_loads_only_its_packages(make_project: Any) -> None:
    """In the order of a run, since each stage needs what the one before has made."""
    project = make_project(lint={"commands": [["ruff", "--version"]]})
    tests = project.root / "tests/unit"
    tests.mkdir(parents=True)
    (tests / "test_nothing.py").write_text("def test_nothing(): pass\n")
    extra = {}
    for verb, expected in EXPECTED:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *verb],
            cwd=project.root,
            capture_output=True,
            text=True,
            check=False,
        )
        word, code, *loaded = done.stdout.splitlines()[-1].split()
        assert word == "loaded", done.stdout + done.stderr
        if verb != ("gate",):
            assert code == "0", done.stdout + done.stderr
        if surplus := set(loaded) - expected:
            extra[" ".join(verb)] = surplus
    if extra:
        pytest.fail(f"loaded beyond what is needed: {extra}")
