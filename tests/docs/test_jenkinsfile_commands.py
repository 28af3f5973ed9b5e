"""Runs every command about Jenkinsfiles in README and docs as it is printed there."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from pytest_jenkinsfile import Jenkins, run_command

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "docs/how-to/jenkins.md",
    ROOT / "docs/how-to/test-a-jenkinsfile.md",
    ROOT / "harness/README.md",
    ROOT / "harness/docs/jenkinsfile-syntax.md",
]
COMMAND = re.compile(
    r"(?:^\$? ?|`)((?:ml-pipeline jenkinsfile run|jenkinsfile run|bin/run-jenkinsfile) [^`\n]+)"
)
SCRIPT = """
pipeline {
    agent { label 'any && label' }
    stages { stage('s') {
        input { message 'Release it?' }
        steps { sh 'true' }
    } }
}
"""


def commands() -> list[str]:
    found: set[str] = set()
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            found |= {match.strip() for match in COMMAND.findall(line)}
    return sorted(found)


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    run_command.add_arguments(parser)
    return parser.parse_args(words)


def test_commands_of_each_program_are_found() -> None:
    assert len([one for one in commands() if one.startswith("ml-pipeline")]) >= 2
    assert len([one for one in commands() if one.startswith("jenkinsfile")]) >= 2
    assert len([one for one in commands() if one.startswith("bin/")]) == 1


@pytest.mark.parametrize("line", [one for one in commands() if not one.startswith("bin/")])
def test_the_command_runs_a_script(
    line: str, jenkins: Jenkins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("Jenkinsfile", "FILE"):
        Path(name).write_text(SCRIPT)
    Path("answers.json").write_text('[{"input": "*", "by": "alice", "do": "approve"}]')
    lines: list[str] = []
    options = vars(arguments(shlex.split(line.removeprefix("ml-pipeline "))[2:]))
    assert run_command.run(options, lines.append, jenkins) == 0
    assert "Finished: SUCCESS" in "\n".join(lines)


@pytest.mark.parametrize("line", [one for one in commands() if one.startswith("bin/")])
def test_bin_run_jenkinsfile_passes_its_arguments_on(line: str, tmp_path: Path) -> None:
    for name, text in {
        "bin/environment": "",
        ".venv/bin/ml-pipeline": 'printf "%s\\n" "$@"',
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    shutil.copy(ROOT / "bin/run-jenkinsfile", tmp_path / "bin")
    environment = {"PATH": "/usr/bin:/bin", "ML_HOME": str(tmp_path / "none")}
    typed = subprocess.run(
        ["bash", "-c", line],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    words = typed.stdout.split()
    assert words[:2] == ["jenkinsfile", "run"]
    options = arguments(words[2:])
    assert (options.branch, options.approve_as, str(options.library)) == ("main", "alice", ".")


def test_the_locks_that_the_page_installs_exist() -> None:
    page = (ROOT / "docs/how-to/test-a-jenkinsfile.md").read_text(encoding="utf-8")
    named = re.findall(r"-r (\S+)", page)
    assert named
    assert all((ROOT / name).is_file() for name in named)
