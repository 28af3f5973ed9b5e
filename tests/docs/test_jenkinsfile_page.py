"""Follows docs/how-to/test-a-jenkinsfile.md to the letter, in a repository of a user."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/test-a-jenkinsfile.md").read_text(encoding="utf-8")
DELIVERY = "@Library('ml-pipeline') _\nmlPipeline()\n"
LIGHT = "def test_a_script(jenkins):\n    assert jenkins.run(\"echo 'x'\").echoes == ['x']\n"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


CONFTEST, TESTS = blocks("python")


pytestmark = pytest.mark.slow


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the bare command, as a user would."""
    command = Path(sys.executable).parent / "pytest"
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COV_", "PYTEST", "PYTHON"))
    }
    environment = inherited | {"ML_PIPELINE_LIBRARY": str(ROOT)}
    return subprocess.run(
        [command, "-q", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tests_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "Jenkinsfile").write_text(DELIVERY)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_jenkinsfile.py").write_text(TESTS)
    done = pytest_in(tmp_path)
    assert f"{TESTS.count('def test_')} passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("own", "arguments"),
    [
        ([], []),
        (["pipeline/jobs.yaml"], []),
        (["pipeline/__init__.py"], []),
        (["pipeline/__init__.py"], ["--import-mode=importlib"]),
    ],
    ids=["no folder", "a folder", "a package", "a package, importlib"],
)
def test_a_folder_called_pipeline(own: list[str], arguments: list[str], tmp_path: Path) -> None:
    for name in own:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "test_script.py").write_text(LIGHT)
    done = pytest_in(tmp_path, *arguments)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_commands_of_the_page(tmp_path: Path) -> None:
    script = next(block for block in blocks("groovy") if "Release it?" in block)
    (tmp_path / "Jenkinsfile").write_text(script)
    first, second, _ = blocks("console")
    done = command(tmp_path, first)
    shown = [line for line in first.splitlines()[1:] if "…" not in line]
    told = [line for line in done.stdout.splitlines() if not line.startswith("Running on")]
    assert (done.returncode, told) == (0, shown)
    answers = second[second.index("[") : second.index("$ ml-pipeline")]
    (tmp_path / "answers.json").write_text(answers)
    done = command(tmp_path, second)
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert [build["result"] for build in report["builds"]] == ["ABORTED", "SUCCESS"]
    expected = second[second.index("{\n") : second.index("…")].splitlines()
    assert done.stdout.splitlines()[: len(expected)] == expected


def command(folder: Path, block: str) -> subprocess.CompletedProcess[str]:
    """Run the command line of a console that starts with ml-pipeline."""
    (line,) = re.findall(r"^\$ ml-pipeline (.*)$", block, re.MULTILINE)
    return subprocess.run(
        [sys.executable, "-P", "-m", "ml_pipeline", *line.split()],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
