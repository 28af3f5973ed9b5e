# ruff: noqa: E501  scripts stand in one line, with the quotation marks that Jenkins prints
"""Live mode: `sh` really runs, in a workspace of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_jenkinsfile import Answer, Jenkins


def test_commands_really_run(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "node { sh 'echo one > f; cat f; echo \"two\" >&2'\n echo sh(script: 'cat f; echo no >&2', returnStdout: true).trim()\n"
        "echo \"${sh(script: 'exit 3', returnStatus: true)}\" }\n",
        mode="live",
    )
    assert build.result == "SUCCESS"
    assert build.echoes == ["one", "3"]
    for line in ("+ cat f", "one", "two", "no"):
        assert line in build.console


def test_hostile_values_do_no_harm(jenkins: Jenkins, tmp_path: Path) -> None:
    hostile = f"$(touch {tmp_path}/x) `touch {tmp_path}/x` '; touch {tmp_path}/x; \"ü\n"
    build = jenkins.run(
        "node { sh 'printf %s \"$P\" > p'; echo readFile('p') }\n",
        mode="live",
        parameters={"P": hostile},
    )
    assert build.echoes == [hostile]
    assert not (tmp_path / "x").exists()


def test_a_script_with_a_shebang_runs_as_it_is(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "node { sh '#!/usr/bin/env bash\\necho \"${BASH_VERSION:+bash}\"' }\n", mode="live"
    )
    assert "bash" in build.console


def test_commands_beside_python_are_found_last_on_the_path(
    jenkins: Jenkins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    build = jenkins.run(
        "node { echo sh(script: 'command -v jenkinsfile; command -v sh', returnStdout: true) }\n",
        mode="live",
    )
    found = build.echoes[0].split()
    assert found[0] == str(Path(sys.executable).parent / "jenkinsfile")
    assert found[1] in ("/usr/bin/sh", "/bin/sh")


def test_the_program_may_be_reloaded_while_a_command_runs(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "parallel a: { node { sh 'sleep 0.5; echo a' } }, b: { 3.times { sleep 1 }; echo 'b' }\necho 'end'\n",
        mode="live",
        clock="jump",
        restart_everywhere=True,
    )
    assert build.result == "SUCCESS"
    assert "end" in build.echoes


def test_a_time_limit_ends_a_process(jenkins: Jenkins) -> None:
    before = time.monotonic()
    build = jenkins.run(
        "timeout(time: 1, unit: 'SECONDS') { node { sh 'sleep 300' } }\n", mode="live"
    )
    assert build.result == "ABORTED"
    assert time.monotonic() - before < 200


def test_the_real_clock_sleeps_and_the_other_jumps(jenkins: Jenkins) -> None:
    before = time.monotonic()
    jenkins.run("sleep 1\n", mode="live")
    assert time.monotonic() - before >= 1
    before = time.monotonic()
    jenkins.run("sleep 1000\n", mode="live", clock="jump")
    assert time.monotonic() - before < 500


def test_the_real_clock_does_not_wait_for_an_unanswered_prompt(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "timeout(time: 3, unit: 'DAYS') { input 'm' }\n", mode="live", answers=[Answer(do="ignore")]
    )
    assert build.result == "ABORTED"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


@pytest.mark.parametrize(
    ("cookie", "survives"), [("", False), ("JENKINS_NODE_COOKIE=dontKillMe ", True)]
)
def test_background_processes_are_ended_with_the_build(
    cookie: str, survives: bool, jenkins: Jenkins
) -> None:
    """The shell's child has its environment only once it runs, hence the second of sleep."""
    build = jenkins.run(
        f"node {{ sh '{cookie}sleep 600 > /dev/null 2>&1 & echo $! > pid; sleep 1'\n"
        "echo readFile('pid').trim() }\n",
        mode="live",
    )
    pid = int(build.echoes[0])
    deadline = time.monotonic() + 60
    while not survives and alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        assert alive(pid) is survives
    finally:
        if alive(pid):
            os.kill(pid, 9)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_checkout_includes_uncommitted_changes(jenkins: Jenkins, tmp_path: Path) -> None:
    git(tmp_path, "init", "-b", "main")
    (tmp_path / "Jenkinsfile").write_text(
        "pipeline { agent any\n stages { stage('s') { steps { echo \"${readFile('a')} ${readFile('b')}\"\n"
        " sh 'git log --format=%s; git rev-parse HEAD | grep -q $GIT_COMMIT && echo same' } } } }\n"
    )
    (tmp_path / "a").write_text("old")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("untracked")
    build = jenkins.run(tmp_path / "Jenkinsfile", mode="live", branch="main")
    assert build.result == "SUCCESS"
    assert build.echoes == ["new untracked"]
    assert {"first", "same"} <= set(build.console)
