"""Follows README.md to the letter."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def consoles() -> list[tuple[str, str]]:
    """Return each command of the README with what it prints."""
    found = []
    for block in blocks("console"):
        for part in block.split("$ ")[1:]:
            command, _, printed = part.partition("\n")
            found.append((command, printed))
    return found


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *words = shlex.split(line)
    assert program == "strict-jenkins-jobs"
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "strict_jenkins_jobs", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_first_check(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    (jobs / "team.yaml").write_text(blocks("yaml")[0])
    (wrong, finding), *right = consoles()
    done = run(wrong, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, finding, "")
    (jobs / "team.yaml").write_text(blocks("yaml")[0].replace("descripton", "description"))
    assert len(right) == 2
    for command, printed in right:
        done = run(command, tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chek", "unknown command 'chek'; did you mean 'check'?"),
        ("check --goldn x", "unknown argument '--goldn'; did you mean '--golden'?"),
        ("check --folder none", "no YAML in none; expected a folder of job definitions"),
        ("diff", "JENKINS_URL, JENKINS_USER, JENKINS_TOKEN not set; expected the server"),
        ("", "the following arguments are required: COMMAND; see 'strict-jenkins-jobs --help'"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_line(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/a.yaml").write_text("- job: {name: a, project-type: folder}\n")
    done = run(f"strict-jenkins-jobs {line}", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"strict-jenkins-jobs: {message}")
    assert done.stderr.count("\n") == 1


def test_the_sources_do_not_mention_machine_learning() -> None:
    word = re.compile(r"ml[-_]?pipeline|mlflow|\bml-|\bML_|machine.learning", re.IGNORECASE)
    files = [*PROJECT.glob("*.*"), *PROJECT.glob("src/**/*.py")]
    assert len(files) > 10
    assert not [file for file in files if word.search(file.read_text(encoding="utf-8"))]
