"""Why a model is trained: the cause, and scheduled builds that have nothing to train."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.jenkins.conftest import TEMPLATE, Deliver, Package

TIMER = {
    "_class": "hudson.triggers.TimerTrigger$TimerTriggerCause",
    "shortDescription": "Started by timer",
}
PERSON = {
    "_class": "hudson.model.Cause$UserIdCause",
    "shortDescription": "Started by user bina",
    "userId": "bina",
    "userName": "bina",
}
PUSH = {
    "_class": "jenkins.branch.BranchEventCause",
    "shortDescription": "Push event to branch main",
}
OFF = ("test", "package", "register", "deploy", "verify", "load-test", "shadow", "gate")
FEW = ", ".join(f"'{stage}': false" for stage in OFF)
SHORT = TEMPLATE.replace("project:", f"stages: [{FEW}], project:")
"""A delivery that ends before the gate."""
PLANNED = SHORT.replace("project:", "retrain: 'planned', project:")
DRIFT = "drift in `volume_z`, 0.4 sd, since 12 May"


def upstream(job: str, *causes: dict[str, Any]) -> dict[str, Any]:
    return {
        "_class": "org.jenkinsci.plugins.workflow.support.steps.build.BuildUpstreamCause",
        "shortDescription": f'Started by upstream project "{job}" build number 3',
        "upstreamProject": job,
        "upstreamBuild": 3,
        "upstreamCauses": list(causes),
    }


def plan(train: bool, why: str, cause: str = "") -> dict[str, Any]:
    return {"schema": "ml-pipeline/plan/1", "train": train, "why": why, "cause": cause}


SCHEDULED = upstream("nepse/delivery/retrain", TIMER)


@pytest.mark.parametrize("hostile", [False, True])
def test_the_cause_of_the_parameter_reaches_the_training_and_the_description(
    deliver: Deliver, package: Package, hostile: bool
) -> None:
    cause = f"{DRIFT}; $BUILD_ID $(id)\n'\"" if hostile else DRIFT
    build = deliver(parameters={"CAUSE": cause}, restart_everywhere=not hostile)
    assert build.result == "SUCCESS", build.text
    (prompt,) = build.calls("input")
    assert prompt.arguments["message"].endswith(f"; cause: {' '.join(cause.split())}")
    assert package.flags("train")["cause"] == " ".join(cause.split())
    assert build.description == (
        f"version 7 is in production: http://127.0.0.1:8000; cause: {' '.join(cause.split())}"
    )


def test_an_argument_goes_before_the_parameter_and_without_both_there_is_none(
    deliver: Deliver, package: Package
) -> None:
    own = SHORT.replace("project:", "cause: 'a new calendar', project:")
    assert deliver(own, parameters={"CAUSE": DRIFT}).result == "SUCCESS"
    assert package.flags("train")["cause"] == "a new calendar"
    assert deliver(SHORT).result == "SUCCESS"
    assert "cause" not in package.flags("train")


def test_a_branch_that_does_not_deliver_has_no_cause(deliver: Deliver, package: Package) -> None:
    build = deliver(branch="feature/x", parameters={"CAUSE": DRIFT})
    assert build.result == "SUCCESS", build.text
    assert "cause" not in package.flags("train")


@pytest.mark.parametrize(("keep", "declared"), [("", True), ("keep: 0, ", False)])
def test_the_parameter_is_declared_unless_the_properties_are_left_alone(
    deliver: Deliver, package: Package, keep: str, declared: bool
) -> None:
    package.plans = [plan(False, "nothing changed")]
    build = deliver(PLANNED.replace("project:", f"{keep}project:"), cause=[SCHEDULED])
    assert ("CAUSE" in json.dumps(build.properties)) is declared


def test_a_scheduled_build_with_nothing_to_train_ends_green_and_says_why(
    deliver: Deliver, package: Package
) -> None:
    package.plans = [plan(False, "code, configuration and data are those of version 7")]
    build = deliver(PLANNED, cause=[SCHEDULED], restart_everywhere=True)
    assert build.result == "SUCCESS", build.text
    assert package.verbs == []
    assert build.description == (
        "nothing to train: code, configuration and data are those of version 7"
    )
    assert not build.calls("milestone"), "an older delivery that waits for its approval goes on"


def test_a_scheduled_build_trains_for_the_reason_of_the_plan(
    deliver: Deliver, package: Package
) -> None:
    package.plans = [plan(True, "5 % new rows", "the data grew by 5 %")]
    build = deliver(PLANNED, cause=[SCHEDULED])
    assert build.result == "SUCCESS", build.text
    assert package.flags("train")["cause"] == "the data grew by 5 %"
    assert (build.description or "").endswith("; cause: the data grew by 5 %")


@pytest.mark.parametrize(
    "causes",
    [
        [PERSON],
        [PUSH],
        [TIMER, PERSON],
        [upstream("nepse/delivery/retrain", PERSON)],
        [upstream("nepse/delivery/retrain")],
    ],
    ids=["person", "push", "timer and person", "person in the retrain job", "unknown origin"],
)
def test_a_build_that_no_timer_alone_started_trains_without_asking(
    deliver: Deliver, package: Package, causes: list[dict[str, Any]]
) -> None:
    package.plans = []
    build = deliver(PLANNED, cause=causes)
    assert build.result == "SUCCESS", build.text
    assert "train" in package.verbs


def test_a_retraining_that_the_monitor_started_is_not_planned_again(
    deliver: Deliver, package: Package
) -> None:
    package.plans = []
    monitor = upstream("nepse/delivery/monitor", TIMER)
    build = deliver(PLANNED, cause=[monitor], parameters={"CAUSE": DRIFT})
    assert build.result == "SUCCESS", build.text
    assert package.flags("train")["cause"] == DRIFT


def test_without_the_argument_a_scheduled_build_trains(deliver: Deliver, package: Package) -> None:
    package.plans = []
    assert deliver(SHORT, cause=[SCHEDULED]).result == "SUCCESS"
    assert "train" in package.verbs


def test_a_plan_is_asked_again_where_the_environment_failed(
    deliver: Deliver, package: Package
) -> None:
    package.plans = [3, plan(False, "nothing changed")]
    build = deliver(PLANNED, cause=[SCHEDULED])
    assert build.result == "SUCCESS", build.text
    assert [step.arguments["time"] for step in build.calls("sleep")] == [10]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (2, "ended with exit code 2: see the lines above"),
        ("", "printed no plan that this library reads"),
        (plan(False, "why") | {"schema": "other"}, "printed no plan that this library reads"),
        ({"schema": "ml-pipeline/plan/1", "why": "x"}, "printed no plan that this library reads"),
    ],
)
def test_a_scheduled_build_without_a_plan_is_red(
    deliver: Deliver, package: Package, answer: Any, why: str
) -> None:
    package.plans = [answer]
    build = deliver(PLANNED, cause=[SCHEDULED])
    assert build.result == "FAILURE"
    assert f"plan: ml-pipeline plan {why}" in (build.description or "")
    assert package.verbs == []


def test_the_plan_reads_registry_and_data_with_their_credentials(
    deliver: Deliver, package: Package
) -> None:
    script = PLANNED.replace(
        "project:", "credentials: [registry: 'mlflow', gitToken: 'g'], project:"
    )
    package.plans = [plan(False, "nothing changed")]
    login = {"username": "robot", "password": "secret"}
    build = deliver(script, cause=[SCHEDULED], credentials={"mlflow": login, "g": {"secret": "s"}})
    assert build.result == "SUCCESS", build.text
    assert len(build.calls("withCredentials")) == 1
