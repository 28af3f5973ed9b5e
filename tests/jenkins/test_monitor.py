"""mlMonitor by the script of its job: conclusions, alarms that are sent once, and retrainings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.jenkins.conftest import Deliver, Package
from tests.jenkins.test_rollback import script as job_script

DAY = 86_400
DRIFT = "drift in `volume_z`, 0.4 sd, since 12 May"
MAIN = "nepse/delivery/branches/main"
RUNNING = "echo \"cause: ${params.CAUSE}\"\ninput 'promote?'"
"""A delivery of main that waits for its approval."""
ENDED = 'echo "cause: ${params.CAUSE}"'
PERSON = f"build(job: '/{MAIN}', wait: false)"
SCRIPT = job_script("monitor")
START = "if (currentBuild.number == 1) { build(job: '/person', wait: false) }\nnode("
AFTER_PERSON = SCRIPT.replace("node(", START, 1)
"""Another job starts main before the first look does."""
SENDING = SCRIPT.replace("notify: [:]", 'notify: { echo "sent ${it.sort().findAll { it.value }}" }')


def look(conclusion: str, reason: str, *events: dict[str, Any], cause: str = "") -> dict[str, Any]:
    """Return the outcome of a look, as its report has it."""
    code = 0 if conclusion == "fine" else 1
    verdict = {"fine": "pass", "inconclusive": "inconclusive"}.get(conclusion, "fail")
    metrics = {"conclusion": conclusion, "reason": reason, "cause": cause, "cool_down_days": 7.0}
    return {
        "code": code,
        "verdict": verdict,
        "summary": f"{conclusion}: {reason}",
        "metrics": metrics | {"alarms": [], "events": list(events)},
    }


def alarm(event: str) -> dict[str, Any]:
    at = "2026-01-02T06:00:00Z"
    return {"id": f"a1-{event}", "event": event, "name": "drift", "text": DRIFT, "at": at}


RETRAIN = look("retrain", DRIFT, cause=DRIFT)


def monitor(deliver: Deliver, script: str = SCRIPT, main: str = ENDED, **options: Any) -> Any:
    defaults = {
        "job": "nepse/delivery/monitor",
        "branch": None,
        "sandbox": True,
        "cause": "timer",
        "jobs": {MAIN: main, "nepse/delivery/rollback": "echo 'back'", "person": PERSON},
        "answers": [],
    }
    return deliver(script, **(defaults | options))


def retrainings(build: Any) -> list[Any]:
    return [each for each in build.builds if each.job == MAIN]


def test_production_that_is_fine_is_green_and_says_so(deliver: Deliver, package: Package) -> None:
    package.outcomes["monitor"] = look("fine", "900 rows of 3 days are as in training")
    build = monitor(deliver, restart_everywhere=True)
    assert build.result == "SUCCESS", build.text
    assert build.description == "fine: 900 rows of 3 days are as in training"
    assert package.verbs == ["monitor production"]
    assert retrainings(build) == []


@pytest.mark.parametrize(
    ("when", "result"), [("failure", "UNSTABLE"), ("unstable", "UNSTABLE"), ("success", "SUCCESS")]
)
def test_what_cannot_be_concluded_is_no_success_and_starts_nothing(
    deliver: Deliver, package: Package, when: str, result: str
) -> None:
    package.outcomes["monitor"] = look("inconclusive", "57 rows; expected at least 200")
    build = monitor(deliver, SENDING.replace("notify", f"whenAlarm: '{when}', notify"))
    assert build.result == result, build.text
    assert build.description == "inconclusive: 57 rows; expected at least 200"
    assert retrainings(build) == []
    assert sent(build) == []


@pytest.mark.parametrize(
    ("when", "result"),
    [(None, "UNSTABLE"), ("success", "SUCCESS"), ("unstable", "UNSTABLE"), ("failure", "FAILURE")],
)
def test_the_call_says_how_a_build_with_an_alarm_ends(
    deliver: Deliver, package: Package, when: str | None, result: str
) -> None:
    package.outcomes["monitor"] = look("investigate", "no request for 30 hours")
    script = SCRIPT if when is None else SCRIPT.replace("notify", f"whenAlarm: '{when}', notify")
    build = monitor(deliver, script)
    assert (build.result, build.description) == (result, "investigate: no request for 30 hours")


def test_a_retraining_starts_main_with_the_cause_and_a_restart_at_every_step(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["monitor"] = RETRAIN
    build = monitor(deliver, restart_everywhere=True)
    assert build.result == "UNSTABLE", build.text
    assert build.description == f"retrain: {DRIFT}; branches/main was started"
    (delivery,) = retrainings(build)
    assert delivery.echoes == [f"cause: {DRIFT}"]
    assert "Started by upstream project" in delivery.text


def test_a_second_look_starts_none_while_the_first_retraining_waits_for_its_approval(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["monitor"] = RETRAIN
    build = monitor(deliver, main=RUNNING, starts=[0, 30 * DAY])
    assert len(retrainings(build)) == 1
    assert build.description == (
        f"retrain: {DRIFT}; no retraining was started: the one of branches/main that this job "
        "started before is build #1, which has not ended"
    )


def test_a_look_starts_none_while_a_retraining_is_queued(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["monitor"] = RETRAIN
    main = f"properties([disableConcurrentBuilds()])\n{RUNNING}"
    build = monitor(deliver, AFTER_PERSON, main=main, starts=[0, 30 * DAY])
    assert len(retrainings(build)) == 2, "that of the person runs, that of the first look waits"
    assert build.description == (
        f"retrain: {DRIFT}; no retraining was started: the one of branches/main that this job "
        "started before is queued"
    )


def test_none_is_started_within_the_cool_down_and_one_after_it(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["monitor"] = RETRAIN
    build = monitor(deliver, starts=[0, DAY, 6 * DAY, 7 * DAY + 60])
    looks = [each for each in build.builds if each.job == "nepse/delivery/monitor"]
    started = [f"retrain: {DRIFT}; branches/main was started" == each.description for each in looks]
    assert started == [True, False, False, True]
    assert (looks[1].description or "").endswith(
        "no retraining was started: build #1 started one, and monitor.cool_down_days is 7.0: "
        "none before 2026-01-08 00:00 UTC"
    )


def test_a_delivery_that_a_person_started_is_no_reason_to_wait(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["monitor"] = RETRAIN
    build = monitor(deliver, AFTER_PERSON, main=RUNNING)
    assert build.description == f"retrain: {DRIFT}; branches/main was started"
    assert len(retrainings(build)) == 2


def test_a_replayed_look_starts_nothing(deliver: Deliver, package: Package) -> None:
    package.outcomes["monitor"] = RETRAIN
    build = monitor(deliver, cause="replay")
    assert retrainings(build) == []
    assert build.description == (
        f"retrain: {DRIFT}; no retraining was started: this build was replayed; start a new build "
        "of nepse/delivery/monitor"
    )


def test_a_job_that_does_not_exist_is_named(deliver: Deliver, package: Package) -> None:
    package.outcomes["monitor"] = RETRAIN
    build = monitor(deliver, SCRIPT.replace("branches/main", "branches/trunk"))
    assert build.result == "FAILURE"
    assert build.description == (
        f"mlMonitor: retrain: {DRIFT}; 'retrainJob' is 'branches/trunk', and there is no such job "
        "in the folder of nepse/delivery/monitor"
    )


def test_nothing_is_rolled_back_and_the_job_for_it_is_linked(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["monitor"] = look("roll back", "AUC 0.48 [0.45, 0.51]", alarm("opened"))
    build = monitor(deliver, SENDING)
    link = "http://jenkins.example/job/nepse/job/delivery/job/rollback/"
    assert build.result == "UNSTABLE", build.text
    assert build.description == (
        "roll back: AUC 0.48 [0.45, 0.51]; nothing was rolled back; a person decides: " + link
    )
    assert f"rollback:{link}" in sent(build)[0]
    assert [each.job for each in build.builds] == ["nepse/delivery/monitor"]


def sent(build: Any) -> list[str]:
    return [line for each in build.builds for line in each.echoes if line.startswith("sent ")]


def test_an_alarm_is_sent_when_it_opens_and_when_it_ends_once_each(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["monitor"] = [
        look("investigate", DRIFT, alarm("opened")),
        look("investigate", DRIFT),
        look("fine", "as in training", alarm("resolved")),
    ]
    build = monitor(deliver, SENDING, starts=[0, DAY, 2 * DAY], restart_everywhere=True)
    opened, resolved = sent(build)
    assert "alarm:drift" in opened
    assert "event:opened" in opened
    assert f"reason:{DRIFT}" in opened
    assert "event:resolved" in resolved
    assert "conclusion:fine" in resolved


def test_a_look_that_fails_is_sent_too(deliver: Deliver, package: Package) -> None:
    package.outcomes["monitor"] = {"code": 2, "summary": "monitor.min_rows is -1"}
    build = monitor(deliver, SENDING)
    assert build.result == "FAILURE"
    (line,) = sent(build)
    assert "event:failed" in line
    assert "monitor.min_rows is -1" in line


def test_slack_and_mail_get_a_line_that_says_what_happened(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["monitor"] = look("investigate", DRIFT, alarm("opened"))
    script = SCRIPT.replace("notify: [:]", "notify: [slack: '#models', mail: 'a@example.org']")
    texts: list[Any] = []
    monitor(deliver, script, steps={"slackSend": texts.append, "mail": texts.append})
    line = (
        f"nepse/delivery/monitor #1, production: alarm opened: {DRIFT}; investigate: {DRIFT} "
        "http://jenkins.example/job/nepse/job/delivery/job/monitor/1/"
    )
    assert [text.get("message") or text["body"] for text in texts] == [line, line]


def test_the_address_of_a_webhook_is_bound_and_never_logged(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["monitor"] = look("investigate", DRIFT, alarm("opened"))
    script = SCRIPT.replace("notify: [:]", "notify: [webhook: 'alarm-hook']")
    address = "https://hooks.example.org/T0KEN"
    build = monitor(deliver, script, credentials={"alarm-hook": {"secret": address}})
    assert build.result == "UNSTABLE", build.text
    assert package.calls[-1].environment["ML_WEBHOOK"] == address
    assert "T0KEN" not in build.text
    monitor(deliver, script.replace("alarm-hook", "https://hooks.example.org/open"))
    assert package.calls[-1].environment["ML_WEBHOOK"] == "https://hooks.example.org/open"


@pytest.mark.parametrize(
    ("notify", "problem"),
    [
        ("[slck: '#models']", "notify: unknown key 'slck'; did you mean 'slack'?"),
        ("'#models'", "'notify' is '#models'; expected a closure, or a map with slack, mail"),
    ],
)
def test_a_wrong_notify_is_refused_before_anything_runs(
    deliver: Deliver, package: Package, notify: str, problem: str
) -> None:
    build = monitor(deliver, SCRIPT.replace("notify: [:]", f"notify: {notify}"))
    delivery = deliver(f"@Library('ml-pipeline') _\nmlPipeline(notify: {notify})")
    for each in (build, delivery):
        assert each.result == "FAILURE"
        assert problem in (each.description or "")
    assert package.verbs == []


def test_the_map_that_the_step_returns(deliver: Deliver, package: Package) -> None:
    package.outcomes["monitor"] = look("investigate", DRIFT, alarm("opened"))
    script = """@Library('ml-pipeline') _
    def found = mlMonitor(whenAlarm: 'success')
    def names = ['conclusion', 'reason', 'cause', 'alarms', 'events']
    echo groovy.json.JsonOutput.toJson(found.subMap(names))
    """
    build = monitor(deliver, script, branch="main", job="m")
    assert json.loads(build.echoes[-1]) == {
        "conclusion": "investigate",
        "reason": DRIFT,
        "cause": "",
        "alarms": [],
        "events": [alarm("opened")],
    }
    assert package.verbs == ["monitor production"]
