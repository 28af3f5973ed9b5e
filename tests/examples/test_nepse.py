"""The example is a stranger's repository: it works from any folder, by its own files only."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import pytest
from ml_pipeline import config
from ml_pipeline.config import Project
from ml_pipeline.core.report import Verdict
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.stages import runner

EXAMPLE = Path(__file__).parents[2] / "examples/nepse"


@pytest.fixture
def example(tmp_path: Path) -> Project:
    root = tmp_path / "somewhere/else"
    ignored = shutil.ignore_patterns("build", ".ml", "__pycache__")
    shutil.copytree(EXAMPLE, root, ignore=ignored)
    return config.load(root, environment={})


def test_configuration_is_valid(example):
    problem = load_problem(example.config.problem, example.root)
    assert (problem.kind, example.config.data.source.kind) == ("bars", "simulated")


def test_lint(example, make_context):
    result = runner.execute(make_context(example, "lint"))
    assert result.report.verdict is Verdict.PASS, result.report.summary


def test_unit_tests(example, make_context):
    result = runner.execute(make_context(example, "test"))
    assert result.report.verdict is Verdict.PASS, result.report.summary
    assert result.report.metrics["coverage"] >= example.config.test.coverage


def test_each_kind_of_test_is_shown(example):
    config_ = example.config
    for folder in (
        config_.test.path,
        config_.tests.data,
        config_.tests.model,
        config_.tests.staging,
    ):
        assert list(example.path(folder).glob("test_*.py")), folder


def test_sample_is_small_and_holds_twenty_symbols():
    path = EXAMPLE / "data/sample.csv"
    assert path.stat().st_size < 200_000
    with path.open() as stream:
        symbols = Counter(row["symbol"] for row in csv.DictReader(stream))
    assert len(symbols) == 20
    assert symbols.total() == 2_500
