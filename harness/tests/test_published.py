"""Syntax and steps of docs/jenkinsfile-syntax.md that no other test uses."""

from __future__ import annotations

import pytest
from pytest_jenkinsfile import Jenkins, UnsupportedError

from .conftest import CREDENTIALS

PIPELINE_OPTIONS = (
    "buildDiscarder(logRotator(numToKeepStr: '5'))",
    "disableRestartFromStage()",
    "disableResume()",
    "durabilityHint('PERFORMANCE_OPTIMIZED')",
    "lock('printer')",
    "overrideIndexTriggers(false)",
    "parallelsAlwaysFailFast()",
    "preserveStashes(buildCount: 2)",
    "quietPeriod(5)",
    "rateLimitBuilds(throttle: [count: 1, durationName: 'hour', userBoost: true])",
    "retry(2)",
    "skipDefaultCheckout()",
    "skipStagesAfterUnstable()",
    "timestamps()",
)
STAGE_OPTIONS = ("lock('printer')", "retry(2)", "skipDefaultCheckout()", "timestamps()")
TRIGGERS = (
    "cron('H 2 * * 7')",
    "githubPush()",
    "pollSCM('H/5 * * * *')",
    "upstream(upstreamProjects: 'a,b', threshold: hudson.model.Result.SUCCESS)",
)
PARAMETERS = (
    "booleanParam(name: 'P', defaultValue: true, description: 'd')",
    "choice(name: 'P', choices: ['one', 'two'])",
    "file(name: 'P')",
    "password(name: 'P', defaultValue: 'x')",
    "run(name: 'P', projectName: 'job')",
    "string(name: 'P', defaultValue: 'x')",
    "text(name: 'P', defaultValue: 'x')",
)
AGENTS = (
    "label 'built-in'",
    "node { label 'built-in'\n customWorkspace 'own' }",
    "docker { image 'i'\n args '-v /a:/a'\n label 'built-in'\n alwaysPull true }",
    "docker { image 'i'\n customWorkspace 'own' }",
    "docker { image 'i'\n registryUrl 'https://r.example'\n registryCredentialsId 'a-login' }",
    "dockerfile { filename 'D'\n dir 'd'\n additionalBuildArgs '--pull'\n args '-v /a:/a' }",
    "dockerfile true",
)
OPTIONAL = {
    "ansiColor('xterm') { echo 'inside' }": "ansicolor",
    "emailext(to: 'a@example.org', subject: 's', body: 'b')": "email-ext",
    "findFiles(glob: '**')": "pipeline-utility-steps",
    "writeJSON(file: 'a.json', json: [a: 1])": "pipeline-utility-steps",
    "publishChecks(name: 'n')": "checks-api",
    "withChecks('n') { echo 'inside' }": "checks-api",
    "publishHTML([reportDir: '.', reportFiles: 'i.html', reportName: 'r'])": "htmlpublisher",
    "slackSend(channel: '#c', message: 'm')": "slack",
    "sshagent(['a-key']) { echo 'inside' }": "ssh-agent",
}


def pipeline(top: str = "", stage: str = "") -> str:
    return (
        f"pipeline {{\n agent any\n {top}\n"
        f" stages {{ stage('s') {{ {stage}\n steps {{ echo 'ran' }} }} }}\n}}\n"
    )


@pytest.mark.parametrize(
    "script",
    [
        *(pipeline(f"options {{ {one} }}") for one in PIPELINE_OPTIONS),
        *(pipeline(stage=f"options {{ {one} }}") for one in STAGE_OPTIONS),
        *(pipeline(f"triggers {{ {one} }}") for one in TRIGGERS),
        *(pipeline(f"parameters {{ {one} }}") for one in PARAMETERS),
        *(pipeline(stage=f"agent {{ {one} }}") for one in AGENTS),
    ],
    ids=[
        *PIPELINE_OPTIONS,
        *(f"stage {one}" for one in STAGE_OPTIONS),
        *TRIGGERS,
        *PARAMETERS,
        *AGENTS,
    ],
)
def test_is_understood(script: str, jenkins: Jenkins) -> None:
    build = jenkins.run(script)
    assert (build.result, build.echoes) == ("SUCCESS", ["ran"]), build.text


@pytest.mark.parametrize(("call", "plugin"), OPTIONAL.items(), ids=OPTIONAL)
def test_a_step_of_a_plugin_needs_the_plugin(call: str, plugin: str, jenkins: Jenkins) -> None:
    script = f"node {{ {call} }}\n"
    name = call.partition("(")[0]
    with pytest.raises(
        UnsupportedError, match=rf"'{name}' needs the plugin {plugin}.*--plugin {plugin}"
    ):
        jenkins.run(script)
    caught = jenkins.run(f"try {{ {name}() }} catch (NoSuchMethodError e) {{ echo e.message }}\n")
    assert caught.echoes[0].startswith(f"No such DSL method '{name}' found among steps [")
    build = jenkins.run(script, plugins=[plugin])
    assert build.result == "SUCCESS", build.text
    assert build.echoes == (["inside"] if "inside" in call else [])


@pytest.mark.parametrize("option", ["ansiColor('xterm')", "withChecks('n')"])
def test_an_option_of_a_plugin(option: str, jenkins: Jenkins) -> None:
    script = pipeline(stage=f"options {{ {option} }}")
    build = jenkins.run(script, plugins=["ansicolor", "checks-api"])
    assert (build.result, build.echoes) == ("SUCCESS", ["ran"])


def test_warn_error_continues_and_makes_the_build_unstable(jenkins: Jenkins) -> None:
    build = jenkins.run("warnError('odd') { error 'broken' }\necho 'on'\n")
    assert (build.result, build.echoes) == ("UNSTABLE", ["on"])


@pytest.mark.parametrize(
    "block",
    [
        "timestamps {",
        "withDockerRegistry(url: 'https://r.example') {",
        "withDockerServer(uri: 'u') {",
    ],
)
def test_a_block_step_runs_its_body(block: str, jenkins: Jenkins) -> None:
    build = jenkins.run(f"node {{ {block} echo 'inside' }} }}\n")
    assert (build.result, build.echoes) == ("SUCCESS", ["inside"])


def test_a_tag_build_is_distinguished_from_a_branch(jenkins: Jenkins) -> None:
    script = pipeline(stage="when { buildingTag() }")
    assert jenkins.run(script, tag="v1").echoes == ["ran"]
    assert jenkins.run(script, branch="main").echoes == []


@pytest.mark.parametrize(
    ("credential", "variables"),
    [
        ("usernameColonPassword(credentialsId: 'a-login', variable: 'V')", "robot:hunter-2"),
        ("string(credentialsId: 'a-token', variable: 'V')", "s3cret-token"),
    ],
)
def test_a_secret_can_be_read_after_its_binding(
    credential: str, variables: str, jenkins: Jenkins
) -> None:
    script = (
        f"def kept\nnode {{ withCredentials([{credential}]) {{ kept = env.V; echo kept }} }}\n"
        "echo kept\n"
    )
    build = jenkins.run(script, credentials=CREDENTIALS)
    assert [line for line in build.console if line in ("****", variables)] == ["****", variables]


def test_a_missing_credential_of_a_stage_ends_it_before_its_steps_and_post(
    jenkins: Jenkins,
) -> None:
    build = jenkins.run(
        "pipeline { agent any\n stages { stage('s') {\n"
        " when { expression { echo 'when'; true } }\n"
        " environment { T = credentials('none') }\n"
        " steps { echo 'steps' }\n post { always { echo 'post' } } } }\n"
        " post { always { echo 'end' } } }\n"
    )
    assert (build.result, build.echoes) == ("FAILURE", ["when", "end"])


@pytest.mark.parametrize(
    "value", ["[" + "1, " * 260 + "1]", "[" + ", ".join(f"k{n}: 1" for n in range(130)) + "]"]
)
def test_too_large_a_literal_fails(value: str, jenkins: Jenkins) -> None:
    assert jenkins.run(f"def x = {value}\necho 'held'\n").result == "FAILURE"
