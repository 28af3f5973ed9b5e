"""The description of a build, one line, however the build ends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.jenkins.conftest import EXPLICIT, TEMPLATE, Deliver, Package

LIBRARY = "@Library('ml-pipeline') _\n"
BOTH = pytest.mark.parametrize("script", [EXPLICIT, TEMPLATE], ids=["explicit", "template"])
RED = {"code": 1, "summary": "1 of 9 failed: test_rsi_is_wilders: assert 41 == 43"}
MESSAGE = "test: 1 of 9 failed: test_rsi_is_wilders: assert 41 == 43"


@BOTH
def test_the_first_failure_stays_whatever_other_stages_report(
    deliver: Deliver, package: Package, script: str
) -> None:
    package.outcomes["test"] = RED
    package.outcomes["evaluate"] = "AUC 0.57 [0.55, 0.59]"
    build = deliver(script, branch="PR-7", answers=[])
    assert build.result == "FAILURE"
    assert "evaluate" in package.verbs
    assert build.description == MESSAGE


def test_a_later_failure_does_not_replace_the_first(deliver: Deliver, package: Package) -> None:
    package.outcomes["test"] = RED
    package.outcomes["train"] = {"code": 1, "summary": "the loss is not finite"}
    script = f"""{LIBRARY}
    mlAgent {{
        catchError {{ mlTest(project: 'examples/nepse') }}
        catchError {{ mlTrain(project: 'examples/nepse') }}
        mlEvaluate(project: 'examples/nepse')
    }}
    """
    build = deliver(script)
    assert build.result == "FAILURE"
    assert build.description == MESSAGE


def test_a_change_of_production_after_a_failure_is_added(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["test"] = RED
    script = f"""{LIBRARY}
    env.ML_PROJECT = 'examples/nepse'
    catchError(buildResult: 'UNSTABLE') {{ mlTest() }}
    mlPromote()
    """
    build = deliver(script)
    assert build.description == f"{MESSAGE}; version 7 is in production: http://127.0.0.1:8000"


def test_a_stage_that_passes_when_it_is_retried_has_not_failed(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["train"] = [{"code": 1, "summary": "bad luck"}, {"code": 0, "summary": "good"}]
    build = deliver(f"{LIBRARY}retry(2) {{ mlTrain(project: 'examples/nepse') }}")
    assert build.result == "SUCCESS"
    assert build.description == "good"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"code": 1, "verdict": "inconclusive", "summary": "too few days"}, "train: too few days"),
        ({"code": 1, "verdict": "error", "summary": "it crashed"}, "train: it crashed"),
        ({"code": 2, "summary": "no key 'trian'"}, "train: usage or configuration: no key 'trian'"),
        (
            {"code": 3, "summary": "disk full"},
            "train: the environment failed four times: disk full",
        ),
        (
            {"code": 5, "summary": "KeyError"},
            "train: a fault of ml-pipeline, please report it with the lines above",
        ),
        ({"code": 137, "writes": False}, "train: ended by the system with exit code 137"),
        ({"code": 0, "writes": False}, "train: it ended with exit code 0, but without a report"),
    ],
)
@BOTH
def test_the_description_names_the_reason_of_every_kind_of_failure(
    deliver: Deliver, package: Package, script: str, answer: dict[str, Any], message: str
) -> None:
    package.outcomes["train"] = answer
    build = deliver(script)
    assert build.result == "FAILURE"
    assert (build.description or "").startswith(message)


@pytest.mark.parametrize(
    "waiting",
    [
        "mlTrain(project: 'examples/nepse', agent: [node: 'gpu'])",
        "mlPipeline(project: 'examples/nepse', node: 'gpu', minutes: 30, stages: [lint: false])",
    ],
)
def test_an_agent_that_is_never_available(deliver: Deliver, package: Package, waiting: str) -> None:
    script = f"""{LIBRARY}
    parallel(
        first: {{ node('gpu') {{ sleep(time: 2, unit: 'HOURS') }} }},
        second: {{ sleep(1); timeout(time: 30, unit: 'MINUTES') {{ {waiting} }} }},
    )
    """
    build = deliver(script, branch="PR-7", agents={"one": ["gpu"]}, executors=1)
    assert build.result == "ABORTED"
    message = "no agent with the label 'gpu' was available: timed out: Timeout has been exceeded"
    assert build.description == message
    assert not package.verbs


def test_a_stage_that_takes_too_long(deliver: Deliver, package: Package) -> None:
    hook = "before: [train: { sleep(time: 1, unit: 'HOURS') }]"
    build = deliver(f"{LIBRARY}mlPipeline(project: 'examples/nepse', minutes: 30, {hook})")
    assert build.result == "ABORTED"
    assert (build.description or "").startswith("before train: timed out: Timeout has been")
    assert "train" not in package.verbs


def test_a_hook_that_fails_is_named(deliver: Deliver) -> None:
    hook = "before: [register: ['sign off': { error('the risk officer refused') }]]"
    build = deliver(f"{LIBRARY}mlPipeline(project: 'examples/nepse', {hook})")
    assert build.result == "FAILURE"
    assert build.description == "sign off: the risk officer refused"


def test_an_argument_that_is_wrong_is_named(deliver: Deliver) -> None:
    build = deliver(f"{LIBRARY}mlPipeline(project: 'examples/nepse', stages: [trian: false])")
    message = "mlPipeline: stages: no stage 'trian'; did you mean 'train'?"
    assert (build.result, build.description) == ("FAILURE", message)


@BOTH
def test_the_description_of_a_replay_names_that_nothing_is_promoted(
    deliver: Deliver, script: str
) -> None:
    build = deliver(script, cause="replay")
    assert build.result == "SUCCESS"
    assert build.description == (
        "version 7: may be promoted: +0.0641 [+0.0504, +0.0777]; not promoted: this build was "
        "replayed; start a new build of job/main"
    )


def test_the_description_of_a_dry_run_names_it(deliver: Deliver) -> None:
    for branch in ("main", "PR-7"):
        build = deliver(
            f"{LIBRARY}mlPipeline(project: 'examples/nepse', dryRun: true)", branch=branch
        )
        assert build.result == "SUCCESS"
        assert (build.description or "").startswith("dry run: ")
        assert (build.description or "").endswith("evaluate ended with 0")


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("mlRollback(to: '5', reason: 'alarms')", "version 5 is in production again: http://x"),
        (
            "mlReconcile(environment: 'production')",
            "production serves version 7; nothing to change",
        ),
        ("mlPromote()", "nothing to promote: version 7 is the champion"),
        ("mlLint()", "ruff: no findings"),
        ("mlRegister()", "version 8 is the challenger"),
    ],
)
def test_a_single_step_sets_the_description(
    deliver: Deliver, package: Package, call: str, answer: str
) -> None:
    package.outcomes[call.partition("(")[0].removeprefix("ml").lower()] = answer
    build = deliver(f"{LIBRARY}env.ML_PROJECT = 'examples/nepse'\n{call}\n")
    assert (build.result, build.description) == ("SUCCESS", answer)


NOTIFIED = [
    "mail: ' '",
    "slack: '#models'",
    "mail: ' ', slack: '#models'",
]


@pytest.mark.parametrize("branch", ["main", "PR-7"])
@pytest.mark.parametrize("notify", NOTIFIED)
def test_a_notification_that_fails_changes_no_result(
    deliver: Deliver, package: Package, notify: str, branch: str
) -> None:
    build = deliver(
        f"{LIBRARY}mlPipeline(project: 'examples/nepse', notify: [{notify}])", branch=branch
    )
    assert build.result == "SUCCESS"
    if branch == "main":
        assert package.verbs[-1] == "watch"
    assert "failed: " in build.text or "skipped, the plugin slack" in build.text


@pytest.mark.parametrize(
    "body", ["error('no network')", "noSuchStep()", "null.size()", "throw new Exception('x')"]
)
def test_a_notification_hook_never_stops_a_build(
    deliver: Deliver, package: Package, body: str
) -> None:
    build = deliver(f"{LIBRARY}mlPipeline(project: 'examples/nepse', notify: {{ {body} }})")
    assert build.result == "SUCCESS"
    assert package.verbs[-1] == "watch"
    assert build.description == "version 7 is in production: http://127.0.0.1:8000"
    message = [line for line in build.echoes if line.startswith("notify failed: ")]
    assert len(message) == 2
    assert message[0].endswith("; the result of the build stays as it is")


def test_a_notification_does_not_hide_why_a_build_failed(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["train"] = {"code": 1, "summary": "the loss is not finite"}
    build = deliver(f"{LIBRARY}mlPipeline(project: 'examples/nepse', notify: {{ error('x') }})")
    assert build.result == "FAILURE"
    assert build.description == "train: the loss is not finite"


def test_a_notification_still_ends_with_the_build(deliver: Deliver) -> None:
    script = f"""{LIBRARY}
    timeout(time: 5, unit: 'MINUTES') {{
        def optional = new org.mlpipeline.OptionalSteps(this)
        optional.tolerate('a page') {{ sleep(time: 1, unit: 'HOURS') }}
        echo 'went on'
    }}
    """
    build = deliver(script)
    assert build.result == "ABORTED"
    assert "went on" not in build.echoes
