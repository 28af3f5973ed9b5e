"""The plug-in where it is not wanted: cheap, and clear about where its fixtures work."""

from __future__ import annotations

import subprocess
import sys

from pipeline.project.pytest_plugin import VERBS
from pipeline.project.pytest_run import PLUGIN


def run_pytest(folder, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *args],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_outside_a_run_each_fixture_names_its_verb(tmp_path):
    tests = [f"def test_{name}({name}): pass\n" for name in VERBS]
    (tmp_path / "test_fixtures.py").write_text("\n".join(tests))
    done = run_pytest(tmp_path, "-p", PLUGIN)
    assert done.returncode == 1
    for name, verb in VERBS.items():
        assert (
            f"fixture '{name}' has its value only in tests that 'ml-pipeline {verb}' runs"
            in done.stdout
        )


def test_a_project_with_a_pipeline_folder_of_its_own_can_call_pytest(tmp_path):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline/__init__.py").write_text("OWN = True\n")
    (tmp_path / "test_own.py").write_text(
        "from pipeline import OWN\n\ndef test_own(): assert OWN\n"
    )
    done = run_pytest(tmp_path, "-o", "pythonpath=.")
    assert done.returncode == 0, done.stdout


def test_a_project_may_have_fixtures_of_these_names(tmp_path):
    (tmp_path / "test_own.py").write_text(
        "import pytest\n\n"
        "@pytest.fixture\ndef df(): return 'own'\n\n"
        "def test_own(df): assert df == 'own'\n"
    )
    assert run_pytest(tmp_path).returncode == 0


def test_it_imports_nothing_heavy():
    code = (
        "import sys, pytest; before = set(sys.modules);"
        f"import {PLUGIN};"
        "print(*sorted({n for n in set(sys.modules) - before if not n.startswith('pipeline')}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "pandas", "pydantic", "yaml", "onnxruntime", "xgboost", "sklearn", "mlflow"}
    assert heavy.isdisjoint(done.stdout.split())


def test_to_start_pytest_does_not_take_an_import_of_it():
    code = (
        "import sys, pipeline.project.pytest_run as run; print('pytest' in sys.modules, run.PLUGIN)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "pipeline.project.pytest_plugin"]


class TestInsideARun:
    def test_fixtures_of_other_stages_name_their_verb(self, make_project):
        from pathlib import Path

        from pipeline.project.user_tests import run_user_tests
        from pipeline.workdir import Workdir

        project = make_project()
        tests = project.root / "tests/data"
        tests.mkdir(parents=True)
        (tests / "test_wrong.py").write_text("def test_wrong(endpoint): pass\n")
        workdir = Workdir(project.root / "build/ml")
        check = run_user_tests(project, workdir, Path("tests/data"), "data", {"df": "unused"})[0]
        assert "run 'ml-pipeline verify staging'" in check.why
        assert check.verdict == "error"
