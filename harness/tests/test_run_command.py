# ruff: noqa: E501  scripts stand in one line, with the quotation marks that Jenkins prints
"""The command `jenkinsfile run`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_jenkinsfile import Jenkins, run_command
from pytest_jenkinsfile.errors import UsageError

ASKS = "def a = input(message: 'm', id: 'go', submitterParameter: 'W')\nnode { sh 'echo \"$K by $1\"'; echo \"${a} ${params.K}\" }\n"


Call = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def called(jenkins: Jenkins) -> Call:
    def call(*arguments: object) -> tuple[int, list[str]]:
        parser = argparse.ArgumentParser()
        run_command.add_arguments(parser)
        lines: list[str] = []
        options = vars(parser.parse_args([str(one) for one in arguments]))
        return run_command.run(options, lines.append, jenkins), lines

    return call


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "Jenkinsfile"
    path.write_text(ASKS)
    return path


def test_results_and_consoles_as_json(called: Call, script: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps([{"input": "Go", "by": "alice", "do": "approve"}]))
    code, lines = called(script, "--builds", 2, "--answers", answers, "--var", "K=v=w", "--json")
    report = json.loads("\n".join(lines))
    assert code == 0
    assert [sorted(build) for build in report["builds"]] == [["console", "result"]] * 2
    assert [build["result"] for build in report["builds"]] == ["SUCCESS"] * 2
    assert {"v=w by ", "alice v=w"} <= set(report["builds"][0]["console"])


def test_the_console_is_printed_line_by_line(called: Call, script: Path) -> None:
    code, lines = called(
        script, "--approve-as", "alice", "--branch", "main", "--restart-everywhere"
    )
    assert code == 0
    assert lines[0] == "Started by user admin"
    assert lines[-1] == "Finished: SUCCESS"


def test_a_build_that_waits(called: Call, script: Path) -> None:
    code, lines = called(script)
    assert code == 4
    assert "The prompt Go has no answer" in lines[-1]


@pytest.mark.parametrize("text", ["error 'x'\n", 'echo "${[2, 1].sort { a, b -> a <=> b }}"\n'])
def test_a_failure_or_a_mismatch(called: Call, text: str, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(text)
    assert called(path)[0] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "none is not a file"),
        (["{script}", "--var", "x"], "expected NAME=VALUE"),
        (["{script}", "--answers", "{script}"], "a JSON list"),
        (["{script}", "--credentials", "{script}"], "a JSON object"),
        (
            ["{gap}"],
            "gap:1: the step 'resolveScm' is not supported by pytest-jenkinsfile.*jenkinsfile-syntax.md",
        ),
        (["{script}", "--library", "{script}"], "is not a folder"),
        (["{script}", "--step", "a b"], "expected NAME or NAME=VALUE"),
    ],
)
def test_wrong_arguments_are_named(
    called: Call, arguments: list[str], message: str, script: Path, tmp_path: Path
) -> None:
    gap = tmp_path / "gap"
    gap.write_text("resolveScm 'x'\n")
    with pytest.raises(UsageError, match=message):
        called(*[one.format(script=script, gap=gap) for one in arguments])


def test_the_library_beside_the_script_is_the_default(called: Call, tmp_path: Path) -> None:
    (tmp_path / "vars").mkdir()
    (tmp_path / "vars" / "greet.groovy").write_text("def call() { echo 'hi' }\n")
    (tmp_path / "Jenkinsfile").write_text("greet()\n")
    code, lines = called(tmp_path / "Jenkinsfile")
    assert (code, "hi" in lines) == (0, True)


def greeting(folder: Path, word: str) -> Path:
    (folder / "vars").mkdir(parents=True)
    (folder / "vars" / "greet.groovy").write_text(f"def call() {{ echo '{word}' }}\n")
    return folder


def test_the_library_variable_precedes_the_scripts_folder_and_follows_the_flag(
    called: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = greeting(tmp_path / "own", "own") / "Jenkinsfile"
    script.write_text("@Library('any') _\ngreet()\n")
    monkeypatch.setenv("JENKINSFILE_LIBRARY", str(greeting(tmp_path / "named", "named")))
    assert "named" in called(script)[1]
    assert "given" in called(script, "--library", greeting(tmp_path / "given", "given"))[1]
    monkeypatch.setenv("JENKINSFILE_LIBRARY", str(script))
    with pytest.raises(UsageError, match=r"JENKINSFILE_LIBRARY=.* is not a folder"):
        called(script)


def test_any_label_matches_without_the_flag_agent(called: Call, tmp_path: Path) -> None:
    path = tmp_path / "Jenkinsfile"
    path.write_text("node('gpu && !windows') { echo env.NODE_NAME }\n")
    assert called(path)[0] == 0
    code, lines = called(path, "--agent", "windows", "--agent", "linux,gpu")
    assert (code, "agent-2" in lines) == (0, True)
    code, lines = called(path, "--agent", "linux")
    assert code == 1
    assert any("has the label 'gpu && !windows'" in line and "--agent" in line for line in lines)


def test_an_error_about_the_scenario_names_the_option(called: Call, tmp_path: Path) -> None:
    path = tmp_path / "Jenkinsfile"
    path.write_text("node { checkout scm }\n")
    with pytest.raises(UsageError, match=r"--branch NAME .* or --scm DIR"):
        called(path)
    assert called(path, "--branch", "main")[0] == 0
    path.write_text("withCredentials([string(credentialsId: 'a', variable: 'A')]) { }\n")
    with pytest.raises(UsageError, match=r"no credentials.*--credentials FILE"):
        called(path)
    path.write_text("node { tool 'M3' }\n")
    with pytest.raises(UsageError, match=r"Jenkinsfile:1: .*--tool TYPE=M3"):
        called(path)
    assert called(path, "--tool", "maven=M3=/opt/maven")[0] == 0
    with pytest.raises(UsageError, match="expected TYPE=NAME"):
        called(path, "--tool", "maven")


def test_a_step_can_be_stubbed(called: Call, tmp_path: Path) -> None:
    path = tmp_path / "Jenkinsfile"
    path.write_text("withMaven { echo 'in' }\necho \"${git('x').SHA} ${tool 'M3'}\"\n")
    code, lines = called(
        path, "--step", "withMaven", "--step", 'git={"SHA": "abc"}', "--step", "tool=/opt/m"
    )
    assert (code, {"in", "abc /opt/m"} <= set(lines)) == (0, True)


def test_it_starts_an_engine_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "Jenkinsfile").write_text("echo 'hi'\n")
    parser = argparse.ArgumentParser()
    run_command.add_arguments(parser)
    assert (
        run_command.run(vars(parser.parse_args([str(tmp_path / "Jenkinsfile")])), lambda _: None)
        == 0
    )
