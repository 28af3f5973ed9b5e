"""The plug-in outside a stage: cheap to load, with errors that name the verb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest
from ml_pipeline.project.pytest_plugin import VERBS
from ml_pipeline.project.pytest_runner import PLUGIN


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
            f"fixture '{name}' is available in tests that 'ml-pipeline {verb}' runs" in done.stdout
        )


def test_a_project_with_a_pipeline_folder_of_its_own_can_call_pytest(tmp_path):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline/__init__.py").write_text("OWN = True\n")
    (tmp_path / "test_own.py").write_text(
        "from pipeline import OWN\n\ndef test_own(): assert OWN\n"
    )
    done = run_pytest(tmp_path, "-o", "pythonpath=.")
    assert done.returncode == 0, done.stdout


class TestPlainPytest:
    """``pytest`` by itself, in a project whose stages have run."""

    @pytest.fixture
    def root(self, tmp_path):
        (tmp_path / "ml.yaml").write_text("project: small\n")
        return tmp_path

    def test_fixtures_use_the_files_of_the_last_run(self, root):
        import pandas as pd

        data = root / "build/ml/data"
        data.mkdir(parents=True)
        pd.DataFrame({"age": [41, 17]}).to_parquet(data / "df.parquet")
        (root / "build/ml/reports").mkdir()
        report = {"metrics": {"url": "http://127.0.0.1:8001"}}
        (root / "build/ml/reports/deploy-staging.json").write_text(json.dumps(report))
        (root / "tests").mkdir()
        (root / "tests/test_own.py").write_text(
            "def test_df(df): assert df['age'].tolist() == [41, 17]\n"
            "def test_endpoint(endpoint): assert endpoint == 'http://127.0.0.1:8001'\n"
        )
        done = run_pytest(root, "tests")
        assert done.returncode == 0, done.stdout
        assert "2 passed" in done.stdout

    def test_before_a_run_each_fixture_names_its_verb(self, root):
        tests = [f"def test_{name}({name}): pass\n" for name in VERBS]
        (root / "test_fixtures.py").write_text("\n".join(tests))
        done = run_pytest(root)
        assert done.returncode == 1
        for name, verb in VERBS.items():
            assert f"fixture '{name}' is available in tests that 'ml-pipeline {verb}'" in (
                done.stdout
            )

    @pytest.mark.parametrize("path", [None, "."])
    def test_a_package_pipeline_of_the_project_is_imported_beside_the_installed_one(
        self, root, path
    ):
        (root / "pipeline").mkdir()
        (root / "pipeline/__init__.py").write_text("OWN = True\n")
        (root / "test_own.py").write_text(
            "from pipeline import OWN\nfrom ml_pipeline import feature\n\n"
            "def test_own(): assert OWN and feature\n"
        )
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
        environment = os.environ | ({"PYTHONPATH": str(root)} if path else {})
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def test_modules_of_the_project_are_found_as_in_a_stage(self, root):
        (root / "features").mkdir()
        (root / "features/own.py").write_text("ANSWER = 41\n")
        (root / "tests/unit").mkdir(parents=True)
        test = "from features.own import ANSWER\n\ndef test_own(): assert ANSWER == 41\n"
        (root / "tests/unit/test_own.py").write_text(test)
        (root / "tests/conftest.py").write_text("import features.own\n")
        assert run_pytest(root).returncode == 0
        assert run_pytest(root / "tests/unit").returncode == 0
        (root / "ml.yaml").unlink()
        assert "No module named 'features'" in run_pytest(root).stderr

    def test_an_installed_package_stays_before_a_folder_of_the_project(self, root):
        (root / "pandas").mkdir()
        (root / "pandas/__init__.py").write_text("OWN = True\n")
        test = f"""
            import sys, pandas
            def test_own(): assert not hasattr(pandas, "OWN") and sys.path[-1] == {str(root)!r}
        """
        (root / "tests").mkdir()
        (root / "tests/test_own.py").write_text(textwrap.dedent(test))
        done = run_pytest(root)
        assert done.returncode == 0, done.stdout

    @pytest.mark.parametrize("own", [".", "./", "tests/.."])
    def test_a_project_that_sets_its_own_path_keeps_it(self, root, own):
        (root / "tests").mkdir()
        (root / "pytest.ini").write_text(f"[pytest]\npythonpath = {own}\n")
        test = "import sys\n\ndef test_own(): assert sys.path[-1] != " + repr(str(root))
        (root / "tests/test_own.py").write_text(test + "\n")
        done = run_pytest(root)
        assert done.returncode == 0, done.stdout

    def test_there_are_no_fixtures_outside_a_project(self, tmp_path):
        (tmp_path / "test_own.py").write_text("def test_own(df): pass\n")
        assert "fixture 'df' not found" in run_pytest(tmp_path).stdout


def test_a_project_may_have_fixtures_of_these_names(tmp_path):
    (tmp_path / "test_own.py").write_text(
        "import pytest\n\n"
        "@pytest.fixture\ndef df(): return 'own'\n\n"
        "def test_own(df): assert df == 'own'\n"
    )
    assert run_pytest(tmp_path).returncode == 0


def test_the_plugin_imports_nothing_heavy():
    code = (
        "import sys, pytest; before = set(sys.modules);"
        f"import {PLUGIN};"
        "print(*sorted({n for n in set(sys.modules) - before if not n.startswith('ml_pipeline')}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "pandas", "pydantic", "yaml", "onnxruntime", "xgboost", "sklearn", "mlflow"}
    assert heavy.isdisjoint(done.stdout.split())


def test_the_runner_does_not_import_pytest():
    code = (
        "import sys, ml_pipeline.project.pytest_runner as run;"
        "print('pytest' in sys.modules, run.PLUGIN)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "ml_pipeline.project.pytest_plugin"]


class TestInsideARun:
    def test_fixtures_of_other_stages_name_their_verb(self, make_project):
        from pathlib import Path

        from ml_pipeline.core.workdir import Workdir
        from ml_pipeline.project.user_tests import run_user_tests

        project = make_project()
        tests = project.root / "tests/data"
        tests.mkdir(parents=True)
        (tests / "test_wrong.py").write_text("def test_wrong(endpoint): pass\n")
        workdir = Workdir(project.root / "build/ml")
        check = run_user_tests(project, workdir, Path("tests/data"), "data", {"df": "unused"})[0]
        assert "run 'ml-pipeline verify staging'" in check.why
        assert check.verdict == "error"
