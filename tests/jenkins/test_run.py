"""mlRun: exit codes, reports that count, retries, and files for other agents."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_jenkinsfile import Sh, ShCall

from tests.jenkins.conftest import Deliver, Package

LINT = "@Library('ml-pipeline') _\nmlLint(project: 'examples/nepse')\n"


def test_the_command_line_is_constant(deliver: Deliver, package: Package) -> None:
    call = "mlVerify(project: 'examples/nepse', environment: 'staging', url: 'x; id')"
    deliver(f"@Library('ml-pipeline') _\n{call}\n")
    assert [call.script for call in package.calls] == [
        "ml-pipeline verify --args build/ml/args/verify.json"
    ]
    assert package.flags("verify")["url"] == "x; id"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (1, "lint: lint ended with 1"),
        (
            {"code": 2, "summary": "unknown key 'lnit'"},
            "lint: usage or configuration: unknown key 'lnit' (project examples/nepse)",
        ),
        (
            {"code": 5, "summary": "fault in lint: KeyError"},
            "lint: a fault of ml-pipeline, please report it with the lines above",
        ),
        ({"code": 127, "writes": False}, "lint: there is no command ml-pipeline here"),
        (
            {"code": 137, "writes": False},
            "lint: ended by the system with exit code 137, usually out of memory",
        ),
        (
            {"code": 2, "writes": False},
            "lint: usage or configuration: the lines above name the key (project examples/nepse)",
        ),
    ],
)
def test_what_an_exit_code_means(
    deliver: Deliver, package: Package, answer: Any, message: str
) -> None:
    package.outcomes["lint"] = answer
    build = deliver(LINT)
    assert build.result == "FAILURE"
    assert message in build.text
    assert message in (build.description or "")


@pytest.mark.parametrize("summary", ["too few requests", "inconclusive: too few requests"])
def test_a_verdict_is_logged_once(deliver: Deliver, package: Package, summary: str) -> None:
    package.outcomes["lint"] = {"code": 1, "verdict": "inconclusive", "summary": summary}
    [message] = [line for line in deliver(LINT).echoes if line.startswith("mlLint: ")]
    assert message.startswith("mlLint: inconclusive: too few requests http")


def test_an_error_without_a_report_is_read_from_beside_the_arguments(
    deliver: Deliver, package: Package
) -> None:
    def shell(call: ShCall) -> Sh:
        if call.script.startswith("ml-pipeline"):
            (call.cwd / "build/ml/args/lint.error").write_text(
                "unknown key 'evalute'; did you mean 'evaluate'?\n"
            )
            return Sh(status=2)
        return package(call)

    assert "configuration: unknown key 'evalute'; did you mean" in deliver(LINT, sh=shell).text


@pytest.mark.parametrize(
    "answer",
    [
        {"code": 0, "writes": False},
        {"code": 1, "writes": False},
        {"code": 0, "run_id": "jenkins-000000000000-1"},
        {"code": 1, "run_id": "another"},
        {"code": 0, "stage": "test"},
        {"code": 0, "environment": "staging"},
        {"code": 0, "verdict": "fail"},
        {"code": 0, "verdict": "error"},
        {"code": 1, "verdict": "pass"},
        {"code": 1, "verdict": "skipped"},
        {"code": 0, "schema": "ml-pipeline/report/2"},
    ],
    ids=str,
)
def test_pass_and_fail_need_a_report_of_this_run(
    deliver: Deliver, package: Package, answer: dict[str, Any]
) -> None:
    package.outcomes["lint"] = answer
    build = deliver(LINT)
    assert build.result == "FAILURE"
    assert "without a report of this run with that verdict; its result is ignored" in build.text


def test_the_report_of_an_earlier_attempt_is_ignored(deliver: Deliver, package: Package) -> None:
    lint = "mlLint(project: 'examples/nepse')"
    script = f"@Library('ml-pipeline') _\nmlAgent {{ {lint}; {lint} }}"
    package.outcomes["lint"] = [0, {"code": 0, "writes": False}]
    build = deliver(script)
    assert build.result == "FAILURE"
    assert "its result is ignored" in build.text


def test_environment_errors_are_retried_with_growing_pauses(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["lint"] = [3, 3, 0]
    build = deliver(LINT, restart_everywhere=True)
    assert build.result == "SUCCESS"
    assert package.verbs == ["lint"] * 3
    assert [step.arguments["time"] for step in build.calls("sleep")] == [10, 30]


def test_the_third_retry_is_the_last(deliver: Deliver, package: Package) -> None:
    package.outcomes["lint"] = {"code": 3, "summary": "registry does not answer"}
    build = deliver(LINT)
    assert build.result == "FAILURE"
    assert package.verbs == ["lint"] * 4
    assert build.description == "lint: the environment failed four times: registry does not answer"


def test_a_failed_verdict_is_not_retried(deliver: Deliver, package: Package) -> None:
    package.outcomes["lint"] = 1
    deliver(LINT)
    assert package.verbs == ["lint"]


def test_the_report_of_a_failed_stage_is_published(deliver: Deliver, package: Package) -> None:
    package.outcomes["lint"] = 1
    build = deliver(LINT)
    assert list(build.artifacts) == ["examples/nepse/build/ml/reports/lint.json"]
    assert len(build.calls("junit")) == 1


def test_reports_and_bundle_are_unstashed_on_another_agent(
    deliver: Deliver, package: Package
) -> None:
    seen: list[set[str]] = []

    def shell(call: ShCall) -> Sh:
        if "ml-pipeline" in call.script and not call.script.startswith("#!"):
            found = call.cwd / "build/ml"
            seen.append(
                {path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()}
            )
            if " package " in call.script:
                (found / "bundle").mkdir()
                (found / "bundle/manifest.json").write_text("{}")
        return package(call)

    script = """@Library('ml-pipeline') _
    mlAgent(node: 'a') { mlPackage(project: 'examples/nepse') }
    mlAgent(node: 'b') { mlRegister(project: 'examples/nepse') }
    """
    build = deliver(script, sh=shell, agents={"one": ["a"], "two": ["b"]})
    assert build.result == "SUCCESS"
    assert {"bundle/manifest.json", "reports/package.json", "junit/package.xml"} <= seen[1]


def test_files_of_an_earlier_build_are_removed_from_the_workspace(
    deliver: Deliver, package: Package
) -> None:
    seen: list[bool] = []

    def shell(call: ShCall) -> Sh:
        left = call.cwd / "build/ml/reports/train.json"
        if "ml-pipeline lint" in call.script:
            seen.append(left.exists())
            left.parent.mkdir(parents=True, exist_ok=True)
            left.write_text("{}")
        return package(call)

    deliver(LINT, sh=shell, builds=2)
    assert seen == [False, False]
