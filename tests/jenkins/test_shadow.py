"""A live shadow between two steps, with no executor held while production is watched."""

from __future__ import annotations

import pytest

from tests.jenkins.conftest import Deliver, Package

LIVE = """@Library('ml-pipeline') _
env.ML_PROJECT = 'examples/nepse'
node { mlShadow(environment: 'staging', start: true) }
sleep(time: 30, unit: 'MINUTES')
def judged = node { mlShadow(environment: 'staging', judge: true) }
echo "judged: ${judged.verdict}"
"""


def test_a_live_shadow_holds_no_node_between_start_and_judgement(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["shadow"] = [{"code": 0, "verdict": "skipped"}, {"code": 0}]
    build = deliver(LIVE, restart_everywhere=True)
    assert build.result == "SUCCESS", build.text
    started, judged = [given for verb, given in package.arguments if verb == "shadow"]
    assert (started["start"], started["environment"]) == (True, "staging")
    assert "judge" not in started
    assert (judged["judge"], "start" in judged) == (True, False)
    console = build.console[: build.console.index("[Pipeline] sleep")]
    assert console.count("[Pipeline] node") == console.count("[Pipeline] // node") == 1
    assert "judged: pass" in build.echoes


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_a_live_shadow_that_does_not_pass_fails_the_build(
    deliver: Deliver, package: Package, verdict: str
) -> None:
    package.outcomes["shadow"] = [
        {"code": 0, "verdict": "skipped"},
        {"code": 1, "verdict": verdict, "summary": "missing answers: 120 of 400"},
    ]
    build = deliver(LIVE)
    assert build.result == "FAILURE"
    assert build.description == "shadow staging: missing answers: 120 of 400"


def test_a_started_shadow_without_a_verdict_does_not_count_for_the_gate(
    deliver: Deliver, package: Package
) -> None:
    """Its verdict is skipped: nothing was compared."""
    package.outcomes["shadow"] = {"code": 0, "verdict": "skipped"}
    start = LIVE.split("sleep", maxsplit=1)[0]
    call = "new org.mlpipeline.BuildState(this).result('shadow-staging')"
    script = f'{start}echo "result: ${{{call}.verdict}}"\n'
    assert "result: skipped" in deliver(script).echoes
