# ruff: noqa: E501  scripts stand in one line, with the quotation marks that Jenkins prints
"""Declarative pipelines: order, skipped stages, post conditions and agents."""

from __future__ import annotations

import pytest
from pytest_jenkinsfile import Answer, Jenkins


def stages(*bodies: str, rest: str = "", agent: str = "none") -> str:
    named = "\n".join(f"stage('s{index}') {{\n{body}\n}}" for index, body in enumerate(bodies, 1))
    return f"pipeline {{\nagent {agent}\nstages {{\n{named}\n}}\n{rest}\n}}\n"


def test_input_precedes_when_without_before_input(jenkins: Jenkins) -> None:
    when = "when {{ {0}\n expression {{ echo 'when'; false }} }}\n input {{ message 'm'\n id 'Go' }}\n steps {{ echo 'never' }}"
    asked = jenkins.run(stages(when.format("")), approve_as="alice")
    assert (asked.echoes, len(asked.calls("input"))) == (["when"], 1)
    unasked = jenkins.run(stages(when.format("beforeInput true")))
    assert (unasked.result, unasked.echoes, unasked.calls("input")) == ("SUCCESS", ["when"], [])


def test_when_can_precede_options_input_and_agent(jenkins: Jenkins) -> None:
    body = (
        "options {{ timeout(time: 1, unit: 'HOURS') }}\n agent any\n"
        " when {{ {0}\n expression {{ echo \"node=${{env.NODE_NAME}}\"; false }} }}\n steps {{ echo 'never' }}"
    )
    late = jenkins.run(stages(body.format("")))
    assert late.echoes == ["node=built-in"]
    agent = jenkins.run(stages(body.format("beforeAgent true")))
    assert (agent.echoes, len(agent.calls("timeout")), agent.calls("node")) == (
        ["node=null"],
        1,
        [],
    )
    options = jenkins.run(stages(body.format("beforeOptions true")))
    assert (options.echoes, options.calls("timeout")) == (["node=null"], [])


def test_options_of_a_stage_wrap_its_input(jenkins: Jenkins) -> None:
    build = jenkins.run(
        stages(
            "options { timeout(time: 1, unit: 'MINUTES') }\n input { message 'm' }\n steps { echo 'never' }"
        ),
        answers=[Answer(do="ignore")],
    )
    assert build.result == "ABORTED"


def test_the_timeout_of_the_pipeline_excludes_the_wait_for_its_agent(
    jenkins: Jenkins,
) -> None:
    build = jenkins.run(
        stages(
            "steps { echo 'never' }",
            agent="{ label 'nowhere' }",
            rest="options { timeout(time: 1, unit: 'SECONDS') }",
        )
    )
    assert build.calls("timeout") == []
    assert "Aborted by admin" in build.console


def test_a_stage_without_an_agent_does_not_run_its_post(jenkins: Jenkins) -> None:
    build = jenkins.run(
        stages(
            "agent { label 'nowhere' }\n steps { echo 'never' }\n post { always { echo 'stage' } }",
            rest="post { always { echo 'pipeline' } }",
        )
    )
    assert (build.result, build.echoes) == ("ABORTED", ["pipeline"])


def test_the_post_of_a_pipeline_without_agent_has_no_workspace(jenkins: Jenkins) -> None:
    build = jenkins.run(stages("steps { echo 'x' }", rest="post { always { sh 'true' } }"))
    assert build.result == "FAILURE"
    assert "Attempted to execute a step that requires a node context" in build.text


@pytest.mark.parametrize(
    ("condition", "branch", "holds"),
    [
        ("branch 'main'", "main", True),
        ("branch 'release/*'", "release/1", True),
        ("branch 'release/*'", "release/1/2", False),
        ("branch pattern: 'rel.*', comparator: 'REGEXP'", "release", True),
        ("branch 'main'", None, False),
        ("changeRequest()", "PR-7", True),
        ("changeRequest target: 'main'", "PR-7", True),
        ("changeRequest target: 'other'", "PR-7", False),
        ("changeRequest()", "main", False),
        ("not { changeRequest() }", "main", True),
        ("environment name: 'MODE', value: 'on'", None, True),
        ("equals expected: 2, actual: 1 + 1", None, True),
        ("triggeredBy 'UserIdCause'", None, True),
        ("triggeredBy 'TimerTrigger'", None, False),
        ("expression { 'false' }", None, True),
        ("expression { 0 }", None, False),
        ("allOf { branch 'main'\n expression { true } }", "main", True),
        ("allOf { branch 'main'\n expression { false } }", "main", False),
        ("anyOf { branch 'x'\n expression { true } }", "main", True),
        ("expression { true }\n expression { false }", None, False),
    ],
)
def test_when(condition: str, branch: str | None, holds: bool, jenkins: Jenkins) -> None:
    build = jenkins.run(
        stages(f"when {{ {condition} }}\n steps {{ echo 'ran' }}"),
        branch=branch,
        env={"MODE": "on"},
    )
    assert build.echoes == (["ran"] if holds else [])
    assert build.stage("s1").status == ("SUCCESS" if holds else "SKIPPED")


def test_when_matches_tags(jenkins: Jenkins) -> None:
    script = stages(
        "when { buildingTag() }\n steps { echo env.TAG_NAME }",
        "when { tag 'v*' }\n steps { echo 'v' }",
    )
    assert jenkins.run(script, tag="v1").echoes == ["v1", "v"]
    assert jenkins.run(script, branch="main").echoes == []


POST = (
    "post {\n"
    + "\n".join(
        f"{name} {{ echo '{name}' }}"
        for name in (
            "cleanup",
            "notBuilt",
            "failure",
            "unstable",
            "unsuccessful",
            "success",
            "aborted",
            "regression",
            "fixed",
            "changed",
            "always",
        )
    )
    + "\n}"
)
ALTERNATING = "steps {{ script {{ if (currentBuild.number == {0}) {{ error 'broken' }} }} }}"


def test_post_conditions_compare_with_the_previous_build(jenkins: Jenkins) -> None:
    build = jenkins.run(stages(ALTERNATING.format(2), rest=POST), builds=4)
    assert [one.echoes for one in build.builds] == [
        ["always", "changed", "success", "cleanup"],
        ["always", "changed", "regression", "unsuccessful", "failure", "cleanup"],
        ["always", "changed", "fixed", "success", "cleanup"],
        ["always", "success", "cleanup"],
    ]


def test_an_unstable_stage_runs_the_post_of_unstable_and_later_stages_run(jenkins: Jenkins) -> None:
    build = jenkins.run(stages(f"steps {{ unstable 'shaky' }}\n{POST}", "steps { echo 'two' }"))
    assert build.echoes == [
        "always",
        "changed",
        "unsuccessful",
        "unstable",
        "cleanup",
        "two",
    ]
    assert build.result == "UNSTABLE"


def test_nested_stages_share_the_agent_and_environment_of_their_parent(jenkins: Jenkins) -> None:
    inner = 'stages { stage(\'in\') { environment { B = "${A}b" }\n steps { echo "${env.B} ${env.NODE_NAME}" } } }'
    build = jenkins.run(
        stages(
            f"agent any\n environment {{ A = 'a' }}\n{inner}\n post {{ always {{ echo \"post ${{env.A}}\" }} }}"
        )
    )
    assert build.echoes == ["ab built-in", "post a"]
    assert build.stage("in").parents == ("s1",)


def test_an_error_in_a_nested_stage_fails_its_parent(jenkins: Jenkins) -> None:
    inner = "stages { stage('in') { steps { error 'x' } }\n stage('next') { steps { echo 'never' } } }\n post { failure { echo 'parent' } }"
    build = jenkins.run(stages(inner, "steps { echo 'never' }"))
    assert (build.result, build.echoes) == ("FAILURE", ["parent"])
    assert {stage.name: stage.status for stage in build.stages} == {
        "s1": "FAILURE",
        "in": "FAILURE",
        "next": "SKIPPED",
        "s2": "SKIPPED",
    }


def test_parallel_stages_fail_fast_by_option(jenkins: Jenkins) -> None:
    both = "parallel { stage('a') { steps { sleep 1; error 'x' } }\n stage('b') { steps { sleep 60; echo 'b' } } }"
    assert jenkins.run(stages(both)).echoes == ["b"]
    stopped = jenkins.run(stages(both, rest="options { parallelsAlwaysFailFast() }"))
    assert (stopped.result, stopped.echoes) == ("FAILURE", [])
    assert stopped.stage("b").status == "ABORTED"


def test_environment_values_can_use_earlier_values_and_call_steps(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "pipeline {\nagent any\nenvironment {\n A = 'a'\n B = \"${A}b\"\n C = sh(script: 'x', returnStdout: true)\n D = 'x' + \"${B}\"\n}\n"
        "stages { stage('s') { steps { echo \"${A} ${B} ${C} ${D}\" } } } }\n",
        sh={"x": "out"},
    )
    assert build.echoes == ["a ab out xab"]


def test_parameters_have_defaults_in_the_first_build_and_are_variables_from_the_second(
    jenkins: Jenkins,
) -> None:
    script = stages(
        'steps { echo "${params.T} ${env.T} ${params.F.getClass().simpleName} ${params.C}" }',
        rest="parameters {\n string(name: 'T', defaultValue: 'd')\n booleanParam(name: 'F', defaultValue: true)\n choice(name: 'C', choices: ['one', 'two'])\n}",
    )
    build = jenkins.run(script, builds=2)
    assert [one.echoes for one in build.builds] == [["d null Boolean one"], ["d d Boolean one"]]
    assert jenkins.run(script, parameters={"T": "given"}).echoes == ["given given Boolean one"]


def test_only_one_pipeline_runs_in_a_build(jenkins: Jenkins) -> None:
    build = jenkins.run("wholePipeline(name: 'a')\nwholePipeline(name: 'b')\n")
    assert build.result == "FAILURE"
    assert build.echoes == ["whole pipeline a"]


def test_an_unknown_step_in_a_stage_still_runs_post(jenkins: Jenkins) -> None:
    build = jenkins.run(
        stages(
            "steps { notAStep() }\n post { failure { echo 'stage' } }",
            rest="post { failure { echo 'end' } }",
        )
    )
    assert (build.result, build.echoes) == ("FAILURE", ["stage", "end"])


def test_a_container_for_all_stages_or_for_each(jenkins: Jenkins) -> None:
    docker = "{ docker 'img:1' }"
    one = jenkins.run(stages("steps { sh 'a' }", "steps { sh 'b' }", agent=docker))
    assert len(one.calls("withDockerContainer")) == 1
    each = jenkins.run(
        stages(
            "steps { sh 'a' }",
            "steps { sh 'b' }",
            agent=docker,
            rest="options { newContainerPerStage() }",
        )
    )
    assert len(each.calls("withDockerContainer")) == 3
    assert {step.container for step in each.calls("sh") if step.arguments["script"] in "ab"} == {
        "img:1"
    }


def test_a_dockerfile_is_built_and_used(jenkins: Jenkins) -> None:
    build = jenkins.run(
        stages("agent { dockerfile { filename 'D'\n dir 'd' } }\n steps { sh 'a' }")
    )
    scripts = [step.arguments["script"] for step in build.calls("sh")]
    assert any(
        script.startswith("docker build -t ") and script.endswith('-f "D" "d"')
        for script in scripts
    )
    assert build.result == "SUCCESS"


def test_a_pull_request_checks_out_before_its_stages(jenkins: Jenkins) -> None:
    script = stages(
        "steps { echo \"${readFile('a.txt')} ${env.GIT_COMMIT.length()}\" }", agent="any"
    )
    build = jenkins.run(script, branch="PR-7", scm={"a.txt": "content"})
    assert build.echoes == ["content 40"]
    assert build.stages[0].name == "Declarative: Checkout SCM"
    skipped = jenkins.run(
        stages("steps { echo 'x' }", agent="any", rest="options { skipDefaultCheckout() }"),
        branch="PR-7",
        scm={},
    )
    assert skipped.calls("checkout") == []
