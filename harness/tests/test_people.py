# ruff: noqa: E501  scripts stand in one line, with the quotation marks that Jenkins prints
"""`input`: permissions of users, and every form of its return value."""

from __future__ import annotations

import pytest
from pytest_jenkinsfile import Answer, Jenkins, Prompt
from pytest_jenkinsfile.errors import UsageError

THREE = "parameters: [string(name: 'A'), string(name: 'B'), booleanParam(name: 'C')]"
SHAPES = {
    "no parameters": ("", {}, "null"),
    "one of one": ("parameters: [string(name: 'A')]", {"A": "x"}, "String x"),
    "one as a boolean": ("parameters: [booleanParam(name: 'A')]", {"A": True}, "Boolean true"),
    "all of three": (THREE, {"A": "x", "B": "y", "C": True}, "HashMap [A:x, B:y, C:true]"),
    "two of three": (THREE, {"A": "x", "B": "y"}, "HashMap [A:x, B:y]"),
    "one of three": (THREE, {"B": "y"}, "String y"),
    "none of three": (THREE, {}, "null"),
    "default left out": ("parameters: [string(name: 'A', defaultValue: 'd')]", {}, "null"),
    "who alone": ("submitterParameter: 'WHO'", {}, "String alice"),
    "who with one": (
        "submitterParameter: 'WHO', parameters: [string(name: 'A')]",
        {"A": "x"},
        "HashMap [A:x, WHO:alice]",
    ),
    "who with nothing sent": (f"submitterParameter: 'WHO', {THREE}", {}, "String alice"),
}
SHOW = "echo(r == null ? 'null' : \"${r.getClass().simpleName} ${r instanceof Map ? new TreeMap(r) : r}\")"


@pytest.mark.parametrize("name", SHAPES)
def test_the_shape_of_the_answer(name: str, jenkins: Jenkins) -> None:
    arguments, values, expected = SHAPES[name]
    script = (
        f"def r = input(message: 'm', id: 'Go'{', ' if arguments else ''}{arguments})\n{SHOW}\n"
    )
    build = jenkins.run(script, answers=[{"by": "alice", "values": values}])
    assert build.echoes == [expected]


def test_approve_as_submits_the_defaults_of_the_form(jenkins: Jenkins) -> None:
    asked = (
        "[string(name: 'WHY'), string(name: 'WHERE', defaultValue: 'here'), "
        "booleanParam(name: 'SURE', defaultValue: true), choice(name: 'HOW', choices: ['one', 'two'])]"
    )
    build = jenkins.run(
        f"def r = input(message: 'm', parameters: {asked})\necho new TreeMap(r).toString()\n",
        approve_as="alice",
    )
    assert build.echoes == ["[HOW:one, SURE:true, WHERE:here, WHY:approved by alice, in a trial]"]


def test_declarative_exports_the_answer_to_the_stage_only(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "pipeline { agent none\n stages {\n"
        "stage('a') {\n input {\n message 'm'\n submitterParameter 'WHO'\n parameters { string(name: 'A') }\n }\n"
        ' steps { echo "${WHO} ${env.A}" } }\n'
        "stage('b') { steps { echo \"${env.WHO}\" } } } }\n",
        answers=[{"by": "alice", "values": {"A": "x"}}],
    )
    assert build.echoes == ["alice x", "null"]


@pytest.mark.parametrize(
    ("submitter", "by", "passes"),
    [
        ("alice", "alice", True),
        ("bob, alice", "alice", True),
        ("Alice", "alice", True),
        ("approvers", "alice", True),
        ("authenticated", "alice", True),
        ("", "alice", True),
        ("alice", "root", True),
        ("alice", "starter", False),
        ("alice", "mallory", False),
        ("approvers", "mallory", False),
    ],
)
def test_permission_to_approve(submitter: str, by: str, passes: bool, jenkins: Jenkins) -> None:
    build = jenkins.run(
        f"input(message: 'm', id: 'Go', submitter: '{submitter}')\n",
        answers=[Answer(by=by)],
        groups={"approvers": ["alice"]},
        administrators=["root"],
        started_by="starter",
    )
    assert build.result == ("SUCCESS" if passes else None)
    refused = [] if passes else [{"input": "Go", "by": by, "status": 400}]
    assert build.refused_submissions == refused
    assert build.pending_input == (None if passes else "Go")


def test_after_a_refused_submission_the_next_answer_is_used(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "def w = input(message: 'm', id: 'Go', submitter: 'alice', submitterParameter: 'W')\necho w\n",
        answers=[Answer(by="mallory"), Answer(by="alice")],
    )
    assert build.echoes == ["alice"]
    assert [form["by"] for form in build.refused_submissions] == ["mallory"]


def test_ids_are_capitalised_and_must_be_safe(jenkins: Jenkins) -> None:
    prompts: list[Prompt] = []

    def answer(prompt: Prompt) -> Answer:
        prompts.append(prompt)
        return Answer()

    assert jenkins.run("input(message: 'm', id: 'go')\n", answers=answer).result == "SUCCESS"
    assert prompts[0].id == "Go"
    unsafe = jenkins.run("input(message: 'm', id: 'a b')\n", approve_as="alice")
    assert unsafe.result == "FAILURE"
    assert "Could not instantiate {message=m, id=a b}" in unsafe.text


def test_rejection_is_an_interruption_with_its_cause(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "try { input(message: 'm', id: 'Go') } catch (e) {\n"
        'echo "${e.class.simpleName} ${e.result} ${e.causes[0].class.simpleName}"\nthrow e }\n',
        answers=[Answer(do="reject", by="alice")],
    )
    assert build.echoes == ["FlowInterruptedException ABORTED Rejection"]
    assert build.result == "ABORTED"
    assert "Rejected by alice" in build.console


def test_a_build_aborted_at_a_prompt_names_the_user(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "parallel a: { try { input(message: 'm', id: 'Go') } catch (e) {\n"
        "echo \"${e.result} ${e.causes[0].class.name}\"\nthrow e } }, b: { sleep 60; echo 'late' }\n",
        answers=[Answer(do="abort", by="carol", after=5)],
    )
    assert build.echoes == ["ABORTED jenkins.model.CauseOfInterruption$UserInterruption"]
    assert build.result == "ABORTED"
    assert build.console.count("Aborted by carol") == 1


def test_a_rejected_stage_input_runs_no_post_of_that_stage(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "pipeline { agent none\n stages { stage('a') {\n input { message 'm' }\n steps { echo 'never' }\n"
        " post { always { echo 'stage' } } } }\n post { aborted { echo 'aborted' } } }\n",
        answers=[Answer(do="reject")],
    )
    assert (build.result, build.echoes) == ("ABORTED", ["aborted"])


def test_an_unanswered_prompt_times_out(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "timeout(time: 3, unit: 'DAYS') { input(message: 'm', id: 'Go') }\n",
        answers=[Answer(do="ignore")],
    )
    assert build.result == "ABORTED"
    assert "Timeout has been exceeded" in build.console


def test_without_an_answer_the_build_waits(jenkins: Jenkins) -> None:
    build = jenkins.run("echo 'before'\ninput(message: 'm', id: 'Go')\necho 'after'\n")
    assert (build.result, build.pending_input, build.echoes) == (None, "Go", ["before"])


def test_an_answer_in_time_beats_the_limit(jenkins: Jenkins) -> None:
    script = "timeout(time: 10, unit: 'SECONDS') { input(message: 'm', id: 'Go') }\n"
    assert jenkins.run(script, answers=[Answer(after=5)]).result == "SUCCESS"
    assert jenkins.run(script, answers=[Answer(after=15)]).result == "ABORTED"


def test_answers_are_used_in_order_and_by_id(jenkins: Jenkins) -> None:
    script = "['a', 'b', 'b'].each { echo \"${input(message: 'm', id: it, submitterParameter: 'W')}\" }\n"
    build = jenkins.run(
        script, answers=[Answer("b", by="bea"), Answer("a", by="al"), Answer("b", by="bob")]
    )
    assert build.echoes == ["al", "bea", "bob"]


def test_an_input_inside_node_holds_the_executor(jenkins: Jenkins) -> None:
    held = "node { input(message: 'm', id: 'Go'); echo 'approved' }"
    free = "input(message: 'm', id: 'Go'); node { echo 'approved' }"
    answers = [Answer(after=60)]
    script = "parallel a: { %s }, b: { sleep 1; node { echo 'other' }; echo 'b done' }\n"
    assert jenkins.run(script % held, answers=answers, executors=1).echoes == [
        "approved",
        "other",
        "b done",
    ]
    assert jenkins.run(script % free, answers=answers, executors=1).echoes == [
        "other",
        "b done",
        "approved",
    ]


@pytest.mark.parametrize("entry", ["x", {"who": "alice"}, {"do": "perhaps"}])
def test_a_wrong_answer_is_named(entry: object) -> None:
    with pytest.raises(UsageError, match="answer"):
        Answer.parse(entry)
