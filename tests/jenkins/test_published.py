"""What a build publishes: one line of the log for each stage, checks of the commit, pages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.jenkins.conftest import Deliver, Package

LIBRARY = "@Library('ml-pipeline') _\n"
TRAIN = f"{LIBRARY}mlTrain(project: 'examples/nepse')\n"
GATE = f"{LIBRARY}mlGate(project: 'examples/nepse')\n"
PROJECT = "examples/nepse"
AT = "http://jenkins.example/job/job/job/main/1/artifact/examples/nepse/build/ml"
BOTH = ("checks-api", "htmlpublisher")
PAGES = ("evaluate", "gate", "deploy-staging")


def skipped_plugin(plugin: str) -> str:
    return f"skipped, the plugin {plugin} is not installed"


def test_a_stage_that_passed_has_its_report_in_the_log(deliver: Deliver) -> None:
    assert deliver(TRAIN).echoes[-1] == f"mlTrain: report {AT}/reports/train.json"


def test_without_an_address_of_the_build_there_is_no_line(deliver: Deliver) -> None:
    call = TRAIN.removeprefix(LIBRARY)
    build = deliver(f"{LIBRARY}withEnv(['BUILD_URL=']) {{ {call} }}")
    assert build.result == "SUCCESS"
    assert not [line for line in build.echoes if line.startswith("mlTrain")]


def test_a_stage_that_fails_has_verdict_and_summary(deliver: Deliver, package: Package) -> None:
    package.outcomes["train"] = {"code": 1, "verdict": "inconclusive", "summary": "too little data"}
    message = f"mlTrain: inconclusive: too little data {AT}/reports/train.json"
    assert message in deliver(TRAIN).echoes


def test_evaluate_and_gate_are_checks_of_the_commit(deliver: Deliver) -> None:
    build = deliver(plugins=BOTH)
    assert build.result == "SUCCESS"
    assert [step.arguments for step in build.calls("publishChecks")] == [
        {
            "name": f"ml-pipeline / {PROJECT} / evaluate",
            "title": "evaluate ended with 0",
            "conclusion": "SUCCESS",
            "summary": "All checks are passed.",
            "detailsURL": f"{AT}/reports/evaluate.json",
        },
        {
            "name": f"ml-pipeline / {PROJECT} / gate",
            "title": "may be promoted: +0.0641 [+0.0504, +0.0777]",
            "conclusion": "SUCCESS",
            "summary": "All checks are passed.",
            "detailsURL": f"{AT}/reports/gate.json",
        },
    ]


@pytest.mark.parametrize("verdict", ["fail", "inconclusive", "error"])
def test_a_verdict_other_than_pass_is_no_success_of_the_commit(
    deliver: Deliver, package: Package, verdict: str
) -> None:
    package.outcomes["gate"] = {"code": 1, "verdict": verdict, "summary": "not proved"}
    [check] = deliver(GATE, plugins=BOTH).calls("publishChecks")
    assert check.arguments["conclusion"] == "FAILURE"
    assert check.arguments["title"] == "not proved"
    assert check.arguments["summary"] == f"{verdict}  gate: the scenario"


def test_a_dry_run_publishes_no_check_of_the_commit(deliver: Deliver) -> None:
    build = deliver(f"{LIBRARY}mlPipeline(project: 'examples/nepse', dryRun: true)", plugins=BOTH)
    assert build.result == "SUCCESS"
    assert not build.calls("publishChecks")


def test_pages_are_published_and_linked(deliver: Deliver, package: Package) -> None:
    package.pages = PAGES
    build = deliver(plugins=BOTH)
    assert build.result == "SUCCESS"
    targets = [step.arguments["target"] for step in build.calls("publishHTML")]
    assert {(target["reportName"], target["reportFiles"]) for target in targets} == {
        (f"ml-pipeline {PROJECT} {name}", f"{name}.html") for name in PAGES
    }
    assert {target["reportDir"] for target in targets} == {f"{PROJECT}/build/ml/pages"}
    assert f"mlGate: report {AT}/pages/gate.html" in build.echoes
    assert f"mlTrain: report {AT}/reports/train.json" in build.echoes
    assert any(line.endswith(f" Report: {AT}/pages/gate.html") for line in build.echoes)
    [*_, check] = build.calls("publishChecks")
    assert check.arguments["detailsURL"] == f"{AT}/pages/gate.html"
    assert {f"{PROJECT}/build/ml/pages/{name}.html" for name in PAGES} <= set(build.artifacts)


def test_a_step_returns_where_its_page_is(deliver: Deliver, package: Package) -> None:
    package.pages = ("gate",)
    script = GATE.replace("mlGate", "def answer = mlGate") + 'echo "answer ${answer.page}"\n'
    assert deliver(script).echoes[-1] == f"answer {PROJECT}/build/ml/pages/gate.html"


@pytest.mark.parametrize("answer", [1, 5])
def test_the_page_of_a_stage_that_failed_is_published(
    deliver: Deliver, package: Package, answer: int
) -> None:
    package.pages = ("train",)
    package.outcomes["train"] = answer
    build = deliver(TRAIN, plugins=BOTH)
    assert build.result == "FAILURE"
    assert len(build.calls("publishHTML")) == 1


@pytest.mark.parametrize(
    ("pages", "plugins", "message"),
    [
        ((), (), ["checks-api"]),
        (PAGES, (), ["htmlpublisher", "checks-api"]),
        (PAGES, ("checks-api",), ["htmlpublisher"]),
        ((), BOTH, []),
    ],
)
def test_a_missing_plugin_is_one_line_in_a_build(
    deliver: Deliver, package: Package, pages: tuple[str, ...], plugins: Any, message: list[str]
) -> None:
    package.pages = pages
    build = deliver(plugins=plugins)
    assert build.result == "SUCCESS"
    lines = [line for line in build.echoes if line.startswith("skipped, the plugin")]
    assert lines == [skipped_plugin(plugin) for plugin in message]


@pytest.mark.parametrize("plugins", [(), BOTH], ids=["missing", "installed"])
def test_both_survive_a_restart_of_the_controller(
    deliver: Deliver, package: Package, plugins: Any
) -> None:
    package.pages = PAGES
    stages = "mlEvaluate(project: 'examples/nepse'); mlGate(project: 'examples/nepse')"
    script = f"{LIBRARY}mlAgent {{ {stages} }}\n"
    build = deliver(script, plugins=plugins, restart_everywhere=True)
    assert build.result == "SUCCESS"
    for name, plugin in (("publishChecks", "checks-api"), ("publishHTML", "htmlpublisher")):
        assert len(build.calls(name)) == (2 if plugins else 0)
        assert build.echoes.count(skipped_plugin(plugin)) == (0 if plugins else 1)
