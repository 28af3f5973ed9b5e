"""mlWatch: looks from time to time, and holds no node in between."""

from __future__ import annotations

from typing import Any

import pytest

from tests.jenkins.conftest import EXPLICIT, TEMPLATE, Deliver, Package

BOTH = pytest.mark.parametrize("script", [EXPLICIT, TEMPLATE], ids=["explicit", "template"])
ALONE = "@Library('ml-pipeline') _\ndef done = mlWatch(project: 'examples/nepse')\n"
BACK = "version 7 was rolled back to version 6: errors: 12.00%, expected at most 1.00%"


def waiting(left: float) -> dict[str, Any]:
    return {"code": 4, "metrics": {"seconds_left": left}, "summary": f"{left} s left"}


def sleeps(build: Any) -> list[int]:
    return [step.arguments["time"] for step in build.calls("sleep")]


@BOTH
def test_watch_runs_until_its_time_is_over_with_a_restart_at_every_step(
    deliver: Deliver, package: Package, script: str
) -> None:
    package.outcomes["watch"] = [waiting(84.2), waiting(24.2), waiting(0.3), {"code": 0}]
    build = deliver(script, restart_everywhere=True)
    assert build.result == "SUCCESS", build.text
    assert package.verbs[-5:] == ["promote", *["watch"] * 4]
    assert sleeps(build) == [60, 24, 5]
    assert all(given["judge"] for verb, given in package.arguments if verb == "watch")
    assert build.description == "version 7 is in production: http://127.0.0.1:8000"


def test_no_node_and_no_lock_is_held_between_two_checks(deliver: Deliver, package: Package) -> None:
    package.outcomes["watch"] = [waiting(60), {"code": 0}]
    console = deliver().console
    console = console[: console.index("[Pipeline] sleep")]
    for step in ("node", "lock"):
        assert console.count(f"[Pipeline] {step}") == console.count(f"[Pipeline] // {step}") > 0


def test_a_version_that_was_rolled_back_is_red_with_the_reason(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["watch"] = [waiting(30), {"code": 1, "summary": BACK}]
    build = deliver(ALONE)
    assert build.result == "FAILURE"
    assert build.description == f"watch: {BACK}"


def test_a_project_without_a_watch_ends_at_once(deliver: Deliver, package: Package) -> None:
    package.outcomes["watch"] = {"code": 0, "verdict": "skipped", "summary": "watch.minutes is 0"}
    build = deliver(ALONE)
    assert build.result == "SUCCESS"
    assert package.verbs.count("watch") == 1
    assert not build.calls("sleep")


@pytest.mark.parametrize(
    "answer", [5, 2, {"code": 4, "verdict": "pass"}, {"code": 4, "writes": False}]
)
def test_a_watch_that_ends_with_an_error_fails_the_build(
    deliver: Deliver, package: Package, answer: Any
) -> None:
    package.outcomes["watch"] = answer
    assert deliver(ALONE).result == "FAILURE"
    assert package.verbs.count("watch") == 1


def test_a_temporary_environment_error_is_retried(deliver: Deliver, package: Package) -> None:
    package.outcomes["watch"] = [3, waiting(20), {"code": 0}]
    build = deliver(ALONE)
    assert build.result == "SUCCESS", build.text
    assert package.verbs == ["watch"] * 3


def test_the_step_returns_the_result_of_the_last_check(deliver: Deliver, package: Package) -> None:
    package.outcomes["watch"] = [waiting(9), {"code": 0, "summary": "version 7 stays"}]
    build = deliver(ALONE + 'echo "in the end: ${done.verdict}, ${done.summary}"\n')
    assert "in the end: pass, version 7 stays" in build.echoes


@BOTH
def test_nothing_is_watched_where_nothing_was_promoted(
    deliver: Deliver, package: Package, script: str
) -> None:
    package.outcomes["gate"] = 1
    assert deliver(script).result == "SUCCESS"
    assert "watch" not in package.verbs


def test_it_can_be_switched_off(deliver: Deliver, package: Package) -> None:
    options = "project: 'examples/nepse', stages: [watch: false]"
    assert deliver(f"@Library('ml-pipeline') _\nmlPipeline({options})").result == "SUCCESS"
    assert package.verbs[-1] == "promote"
