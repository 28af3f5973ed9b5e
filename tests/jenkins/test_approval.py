"""mlApprove: every value that input may return, and every way in which a prompt may end."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_jenkinsfile import Prompt

from tests.jenkins.conftest import EXPLICIT, TEMPLATE, Deliver, Package

GATE = "@Library('ml-pipeline') _\nmlGate(project: 'examples/nepse')\n"
ASK = (
    GATE
    + "def result = mlApprove(project: 'examples/nepse'ARGUMENTS)\n"
    + 'echo "result ${result.verdict} ${result.summary}"\n'
)


def ask(arguments: str = "") -> str:
    return ASK.replace("ARGUMENTS", arguments)


def answer(**values: Any) -> list[dict[str, Any]]:
    return [{"input": "Promote", "by": "alice", **values}]


def test_name_and_reason_come_from_the_map(deliver: Deliver, package: Package) -> None:
    build = deliver(ask(), answers=answer(values={"REASON": " better  "}), restart_everywhere=True)
    assert build.result == "SUCCESS"
    assert package.flags("approve")["by"] == "alice"
    assert package.flags("approve")["reason"] == "better"
    assert "result pass version 7 approved by alice: better" in build.echoes


@pytest.mark.parametrize("values", [{}, {"REASON": ""}, {"REASON": "  "}], ids=str)
def test_an_answer_without_a_reason_is_prompted_for_again(
    deliver: Deliver, package: Package, values: dict[str, str]
) -> None:
    answers = [*answer(values=values), *answer(values={"REASON": "better"})]
    build = deliver(ask(), answers=answers)
    assert build.result == "SUCCESS"
    assert len(build.calls("input")) == 2
    assert "mlApprove: alice answered without a reason; prompting again" in build.echoes
    assert package.flags("approve")["reason"] == "better"


def test_three_answers_without_a_reason_approve_nothing(deliver: Deliver, package: Package) -> None:
    build = deliver(ask(), answers=answer())
    assert build.result == "FAILURE"
    assert "three answers without a name and a reason" in build.text
    assert "approve" not in package.verbs


SHAPES = [
    ("null", None, None),
    ("[:]", None, None),
    ("'alice'", "alice", None),
    ("''", None, None),
    ("[REASON: 'r']", None, None),
    ("[APPROVER: 'alice']", "alice", None),
    ("[APPROVER: 'alice', REASON: null]", "alice", None),
    ("[APPROVER: 'alice', REASON: '']", "alice", None),
    ("[APPROVER: '', REASON: 'r']", None, None),
    ("[APPROVER: 'alice', REASON: 'r']", "alice", "r"),
    ("[APPROVER: \"al${'ice'}\", REASON: 5]", "alice", "5"),
    ("true", "true", None),
]


@pytest.mark.parametrize(("shape", "by", "reason"), SHAPES, ids=[shape for shape, _, _ in SHAPES])
def test_every_shape_that_input_returns_is_parsed(
    deliver: Deliver, shape: str, by: str | None, reason: str | None
) -> None:
    build = deliver(
        "@Library('ml-pipeline') import org.mlpipeline.ApprovalPrompt\n"
        f"def a = new ApprovalPrompt(this).parsed({shape})\n"
        'echo "<${a.by}> <${a.reason}>"\n'
    )
    assert build.echoes == [f"<{by or 'null'}> <{reason or 'null'}>"]


def test_the_prompt_shows_versions_comparison_and_checks(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["gate"] = {
        "summary": "may be promoted: +0.0641 [+0.0504, +0.0777]",
        "metrics": {"champion_version": 6},
        "checks": [
            {"name": "primary", "verdict": "pass", "required": True, "why": ""},
            {"name": "drift", "verdict": "inconclusive", "required": False, "why": "too few days"},
        ],
    }
    prompts: list[Prompt] = []

    def person(prompt: Prompt) -> dict[str, Any]:
        prompts.append(prompt)
        return answer(values={"REASON": "better"})[0]

    build = deliver(ask(", submitters: ['alice', 'ml-approvers']"), answers=person)
    assert prompts[0].message == (
        "Promote nepse-direction version 7 over version 6? +0.0641 [+0.0504, +0.0777]"
    )
    assert "  inconclusive  drift (advisory): too few days" in build.echoes
    [message] = [
        line for line in build.echoes if line.startswith(f"mlApprove: {prompts[0].message}")
    ]
    assert "Checks that are not passed: 1, listed under mlGate above." in message
    assert message.endswith("artifact/examples/nepse/build/ml/reports/gate.json")
    assert prompts[0].submitter == "alice,ml-approvers"
    assert prompts[0].submitter_parameter == "APPROVER"


def test_the_prompt_is_one_line_however_long_the_summary(
    deliver: Deliver, package: Package
) -> None:
    """A page of Jenkins shows the message as one heading: line breaks and links are lost there."""
    package.outcomes["gate"] = {"summary": "may be promoted:\n" + "log loss better by 0.01, " * 50}
    build = deliver(ask(), answers=answer(values={"REASON": "better"}))
    message = build.calls("input")[0].arguments["message"]
    assert "\n" not in message
    assert "http" not in message
    assert message.endswith(", log loss …")
    assert len(message) < 220


def test_the_comparison_leaves_out_that_it_may_be_promoted(deliver: Deliver) -> None:
    build = deliver(
        "@Library('ml-pipeline') _\n"
        "def gate = [summary: 'may be promoted: log loss\\n+0.0247 (superior)']\n"
        "echo new org.mlpipeline.ApprovalPrompt(this).comparison(gate)\n"
    )
    assert build.echoes == ["log loss +0.0247 (superior)"]


def test_an_answer_of_a_user_who_is_no_submitter_is_refused(
    deliver: Deliver, package: Package
) -> None:
    answers = [
        {"input": "*", "by": "mallory", "values": {"REASON": "mine"}},
        {"input": "*", "by": "alice", "values": {"REASON": "better"}},
    ]
    build = deliver(ask(", submitters: 'alice'"), answers=answers)
    assert [form["by"] for form in build.refused_submissions] == ["mallory"]
    assert package.flags("approve")["by"] == "alice"


def test_an_author_who_approves_is_refused_by_the_policy(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["approve"] = {
        "code": 1,
        "summary": "'alice' is an author of the change; expected four eyes",
    }
    build = deliver(ask(), answers=answer(values={"REASON": "mine"}))
    assert build.result == "FAILURE"
    assert build.description == "approve: 'alice' is an author of the change; expected four eyes"


COUNTED = {"code": 1, "metrics": {"counted": True}, "summary": "version 7 rejected by alice"}
REFUSED = {"code": 1, "metrics": {"counted": False}, "summary": "'bob' may not approve"}


@pytest.mark.parametrize("script", [ask(), EXPLICIT], ids=["step", "jenkinsfile"])
def test_a_rejection_ends_the_build_and_is_recorded_with_the_version(
    deliver: Deliver, package: Package, script: str
) -> None:
    package.outcomes["approve"] = COUNTED
    build = deliver(script, answers=answer(do="reject"))
    assert build.result == "ABORTED"
    assert build.description == "version 7 not promoted, rejected: Rejected by alice"
    assert package.flags("approve")["reject"] is True
    assert package.flags("approve")["by"] == "alice"
    assert "promote" not in package.verbs


@pytest.mark.parametrize(
    "script", [ask(), EXPLICIT, TEMPLATE], ids=["step", "explicit", "template"]
)
def test_an_abort_by_a_user_who_may_not_decide_records_no_rejection(
    deliver: Deliver, package: Package, script: str
) -> None:
    """Jenkins lets everybody with the permission Cancel abort a prompt, `submitter` or not."""
    package.outcomes["approve"] = REFUSED
    build = deliver(script, answers=answer(do="reject") + answer(do="reject"))
    assert build.result == "ABORTED"
    assert build.description == "ended by alice, who may not decide; version 7 is still open"
    assert "mlApprove: 'bob' may not approve" in build.echoes
    assert "promote" not in package.verbs


@pytest.mark.parametrize(
    ("decision", "why"),
    [
        (5, "approve: a fault of ml-pipeline, please report it with the lines above: "),
        (3, "approve: the environment failed four times: "),
        ({"code": 1, "summary": "version 8 is the challenger"}, "version 8 is the challenger"),
    ],
)
def test_a_rejection_that_cannot_be_recorded_is_no_decision(
    deliver: Deliver, package: Package, decision: Any, why: str
) -> None:
    package.outcomes["approve"] = decision
    build = deliver(ask(), answers=answer(do="reject"))
    assert build.result == "ABORTED"
    message = build.description or ""
    assert message.startswith(f"ended by alice, but the rejection could not be recorded: {why}")
    assert message.endswith("; version 7 is still open")


@pytest.mark.parametrize(
    "script", [ask(), EXPLICIT, TEMPLATE], ids=["step", "explicit", "template"]
)
def test_a_build_that_is_stopped_at_the_prompt_is_no_rejection(
    deliver: Deliver, package: Package, script: str
) -> None:
    build = deliver(script, answers=answer(do="abort", by="carol"))
    assert build.result == "ABORTED"
    assert (
        build.description == "version 7 not promoted, aborted: Aborted by carol; it is still open"
    )
    assert (
        "mlApprove: version 7 not promoted, aborted: Aborted by carol; it is still open"
        in build.echoes
    )
    assert not {"approve", "promote"} & set(package.verbs)


@pytest.mark.parametrize(("arguments", "hours"), [("", 72), (", hours: 5", 5)])
def test_a_prompt_without_an_answer_times_out(
    deliver: Deliver, package: Package, arguments: str, hours: int
) -> None:
    build = deliver(ask(arguments), answers=answer(do="ignore"))
    assert build.result == "ABORTED"
    assert build.description == (
        f"version 7 not promoted, timed out: no approval within {hours} hours; it is still open"
    )
    assert "approve" not in package.verbs


def test_the_delivery_that_is_approved_first_ends_the_older_one(
    deliver: Deliver, package: Package
) -> None:
    answers = [
        {"input": "*", "do": "ignore", "build": 1},
        {"input": "*", "by": "alice", "values": {"REASON": "newer"}, "build": 2},
    ]
    build = deliver(starts=[0, 1], answers=answers)
    assert [one.result for one in build.builds] == ["NOT_BUILT", "SUCCESS"]
    assert build.builds[0].description == (
        "version 7 not promoted, superseded: Superseded by job/main#2"
    )
    assert package.verbs.count("promote") == 1


def test_there_is_no_prompt_where_the_policy_allows_automatic_promotion(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["approve"] = (
        "version 7 approved by policy: the policy promotes what the gate passes"
    )
    build = deliver(ask(", automatic: true"))
    assert build.result == "SUCCESS"
    assert not build.calls("input")
    assert "by" not in package.flags("approve")


def test_a_policy_that_requires_a_person_prompts_despite_automatic(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["approve"] = [4, 0]
    build = deliver(ask(", automatic: true"), answers=answer(values={"REASON": "better"}))
    assert build.result == "SUCCESS"
    assert package.flags("approve")["by"] == "alice"


def test_an_approval_that_still_waits_approves_nothing(deliver: Deliver, package: Package) -> None:
    package.outcomes["approve"] = 4
    build = deliver(ask(), answers=answer(values={"REASON": "better"}))
    assert build.result == "FAILURE"


def test_a_prompt_on_an_agent_is_refused(deliver: Deliver, package: Package) -> None:
    script = GATE + "node { mlApprove(project: 'examples/nepse') }"
    build = deliver(script)
    assert build.result == "FAILURE"
    assert "it would hold an executor while it waits" in build.text
    assert not build.calls("input")


@pytest.mark.parametrize("gate", [None, 1])
def test_without_a_gate_that_passed_there_is_no_prompt(
    deliver: Deliver, package: Package, gate: int | None
) -> None:
    package.outcomes["gate"] = gate or 0
    script = ask() if gate else ask().replace("mlGate(project: 'examples/nepse')", "")
    build = deliver(script)
    assert build.result == "SUCCESS"
    assert not build.calls("input")
    assert "approve" not in package.verbs
