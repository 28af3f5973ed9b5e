"""Follows README.md to the letter, in an environment without other packages."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from . import replay

HARNESS = Path(__file__).parents[1]
README = (HARNESS / "README.md").read_text(encoding="utf-8")
HOW = "pip install --require-hashes -r harness/requirements.txt   (needs a package index)"
UNREACHABLE = re.compile(r"No matching distribution|ConnectionError|Failed to establish|timed out")
FOREIGN = ("jenkins-ml-pipeline", "mlflow", "numpy", "pandas", "strict-jenkins-jobs")
MEGABYTES, CPU_SECONDS = 150, 60


def block(language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)[0]


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(line: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A user's repository with the files of the README."""
    folder = tmp_path / "repository"
    (folder / "tests").mkdir(parents=True)
    (folder / "Jenkinsfile").write_text(block("groovy"))
    (folder / "tests/test_jenkinsfile.py").write_text(block("python"))
    return folder


@pytest.mark.slow
def test_the_first_test_in_a_fresh_environment(repository: Path, tmp_path: Path) -> None:
    started = cpu_seconds()
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    environment = {name: value for name, value in os.environ.items() if "PYTHON" not in name}
    environment |= {"PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "VIRTUAL_ENV": str(venv)}
    environment.pop("PYTEST_ADDOPTS", None)
    for line in block("sh").splitlines():
        done = run(line, HARNESS.parent, environment)
        if done.returncode and UNREACHABLE.search(done.stderr):
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"needs {HOW}")
        assert done.returncode == 0, done.stdout + done.stderr
    command, *expected = block("console").splitlines()
    done = run(command.removeprefix("$ "), repository, environment)
    assert done.stdout.startswith("\n".join(expected)), done.stdout + done.stderr
    assert cpu_seconds() - started < CPU_SECONDS
    listed = run("pip list --format freeze", repository, environment).stdout
    assert not [name for name in FOREIGN if f"\n{name}==" in f"\n{listed}"]
    files = [file for file in venv.rglob("*") if file.is_file() and not file.is_symlink()]
    assert sum(file.stat().st_size for file in files) < MEGABYTES * 1_000_000


def test_the_command(repository: Path) -> None:
    command, first, _, last = re.findall(r"```console\n(.*?)```", README, re.DOTALL)[1].splitlines()
    words = command.removeprefix("$ jenkinsfile ").split()
    make = repository / "bin/make"
    make.parent.mkdir()
    make.write_text('#!/bin/sh\necho "$@"\n')
    make.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "pytest_jenkinsfile", *words],
        cwd=repository,
        env=os.environ | {"PATH": f"{make.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[0], lines[-1]) == (0, first, last), done.stdout + done.stderr
    assert "deploy VERSION=7" in lines


def test_the_sources_do_not_mention_machine_learning() -> None:
    word = re.compile(r"ml[-_]?pipeline|mlflow|\bML_|machine.learning", re.IGNORECASE)
    files = [*HARNESS.glob("*.*"), *HARNESS.glob("docs/*"), *HARNESS.glob("src/**/*.*")]
    texts = {file: file.read_text(encoding="utf-8") for file in files if file.suffix != ".pyc"}
    assert len(texts) > 50
    assert not [file for file, text in texts.items() if word.search(text)]


def test_the_number_of_recordings_is_stated() -> None:
    assert f"for {len(list(replay.RECORDINGS.glob('*.jenkinsfile')))} scripts" in README
