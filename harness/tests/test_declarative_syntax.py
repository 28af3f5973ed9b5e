# ruff: noqa: E501, RUF001  scripts stand in one line, with the quotation marks that Jenkins prints
"""Declarative pipelines: errors with name and line before any step runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pytest_jenkinsfile import Jenkins, UnsupportedError

from . import replay

STAGE = "stages {{ stage('a') {{ {0} }} }}"
REFUSED = {
    "no agent": (
        "pipeline {\n stages { stage('a') { steps { echo 'x' } } }\n}",
        1,
        'Missing required section "agent"',
    ),
    "no stages": ("pipeline {\n agent any\n}", 1, 'Missing required section "stages"'),
    "unknown section": (
        "pipeline {\n agent any\n tool { maven 'x' }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        3,
        'Undefined section "tool"',
    ),
    "renamed section": (
        "pipeline {\n agent any\n wrappers { timestamps() }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        3,
        "The 'wrappers' section has been removed as of version 0.8. Use 'options' instead.",
    ),
    "agent without block": (
        "pipeline {\n agent 'x'\n " + STAGE.format("steps { echo 'x' }") + "\n}",
        2,
        'Only "agent none", "agent any" or "agent {...}" are allowed.',
    ),
    "two agent types": (
        "pipeline {\n agent { label 'x'; docker 'y' }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        2,
        "Only one agent type is allowed per agent section",
    ),
    "agent without its image": (
        "pipeline {\n agent { docker { args 'x' } }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        2,
        'Missing required parameter for agent type "docker": image',
    ),
    "two agents": (
        "pipeline {\n agent any\n agent none\n " + STAGE.format("steps { echo 'x' }") + "\n}",
        3,
        "Multiple occurrences of the agent section",
    ),
    "unknown agent option": (
        "pipeline {\n agent { docker {\n image 'x'\n colour 'red'\n } }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        4,
        'Invalid config option "colour" for agent type "docker". Valid config options are [',
    ),
    "steps without steps": (
        "pipeline {\n agent any\n stages { stage('a') {\n echo 'x'\n } }\n}",
        4,
        "steps in a stage must be in a ‘steps’ block",
    ),
    "statement in steps": (
        "pipeline {\n agent any\n stages { stage('a') { steps {\n def x = 1\n } } }\n}",
        4,
        "Expected a step",
    ),
    "if in steps": (
        "pipeline {\n agent any\n stages { stage('a') { steps {\n if (true) { echo 'x' }\n } } }\n}",
        4,
        "Expected a step",
    ),
    "statement in a block of steps": (
        "pipeline {\n agent any\n stages { stage('a') { steps { dir('x') {\n def x = 1\n } } } }\n}",
        4,
        "Expected a step",
    ),
    "method of an object": (
        "pipeline {\n agent any\n stages { stage('a') { steps {\n env.toString()\n } } }\n}",
        4,
        'Method calls on objects not allowed outside "script" blocks.',
    ),
    "def between stages": (
        "pipeline {\n agent any\n stages {\n def x = 1\n stage('a') { steps { echo 'x' } }\n }\n}",
        4,
        "Expected a stage",
    ),
    "def in a stage": (
        "pipeline {\n agent any\n stages { stage('a') {\n def x = 1\n steps { echo 'x' } } }\n}",
        4,
        "Not a valid stage section definition",
    ),
    "sections on one line": (
        "pipeline {\n agent any\n stages { stage('a') {\n steps { echo 'x' } post { always { echo 'y' } }\n } }\n}",
        4,
        "Expected a symbol",
    ),
    "no content": (
        "pipeline {\n agent any\n stages {\n stage('a') { agent any }\n }\n}",
        4,
        'Expected one of "steps", "stages", or "parallel"',
    ),
    "two contents": (
        "pipeline {\n agent any\n stages {\n stage('a') { steps { echo 'x' }\n stages { stage('b') { steps { echo 'x' } } } }\n }\n}",
        4,
        'Only one of "matrix", "parallel", "stages", or "steps" allowed for stage "a"',
    ),
    "parallel with agent": (
        "pipeline {\n agent none\n stages { stage('a') {\n agent any\n parallel { stage('b') { steps { echo 'x' } } } } }\n}",
        4,
        '"agent" is not allowed in stage "a" as it contains parallel or matrix stages',
    ),
    "same name": (
        "pipeline {\n agent any\n stages {\n stage('a') { steps { echo 'x' } }\n stage('a') { steps { echo 'x' } }\n }\n}",
        3,
        'Duplicate stage name: "a"',
    ),
    "list in environment": (
        "pipeline {\n agent any\n environment {\n A = [1]\n }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        4,
        "Environment variable values must either be single quoted, double quoted, or function calls.",
    ),
    "flag that is no boolean": (
        "pipeline {\n agent any\n stages { stage('a') {\n when { beforeAgent 'yes'; branch 'x' }\n steps { echo 'x' } } }\n}",
        4,
        "Expected a boolean with beforeAgent",
    ),
    "two conditions in not": (
        "pipeline {\n agent any\n stages { stage('a') { when {\n not { branch 'x'; tag 'y' }\n }\n steps { echo 'x' } } }\n}",
        4,
        'Nested when condition "not" requires exactly 1 child condition(s).',
    ),
    "stage in steps": (
        "pipeline {\n agent any\n stages { stage('a') { steps {\n stage('b') { echo 'x' }\n } } }\n}",
        4,
        'Invalid step "stage" used - not allowed in this context - The stage step cannot be used in Declarative Pipelines',
    ),
    "parallel beside other steps": (
        "pipeline {\n agent any\n stages { stage('a') { steps {\n echo 'x'\n parallel(a: { echo 'x' })\n } } }\n}",
        5,
        'Invalid step "parallel" used',
    ),
    "option twice": (
        "pipeline {\n agent any\n options { timestamps(); timestamps() }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        3,
        'Duplicate option name: "timestamps"',
    ),
    "triggers as an option": (
        "pipeline {\n agent any\n options { pipelineTriggers([]) }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        3,
        'The "triggers" job property can\'t be used in the "options" directive.',
    ),
    "post condition twice": (
        "pipeline {\n agent any\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n post { always { echo 'x' }; always { echo 'x' } }\n}",
        4,
        'Duplicate build condition name: "always"',
    ),
    "matrix without axes": (
        "pipeline {\n agent any\n stages { stage('a') {\n matrix { stages { stage('b') { steps { echo 'x' } } } }\n } }\n}",
        4,
        'Missing required section "axes"',
    ),
    "matrix with an axis twice": (
        "pipeline {\n agent any\n stages { stage('a') { matrix {\n axes { axis { name 'A'; values '1' }; axis { name 'A'; values '2' } }\n stages { stage('b') { steps { echo 'x' } } } } } }\n}",
        4,
        'Duplicate axis name: "A"',
    ),
    "matrix with a computed value": (
        "pipeline {\n agent any\n stages { stage('a') { matrix { axes { axis { name 'A'\n values \"${env.X}\" } }\n stages { stage('b') { steps { echo 'x' } } } } } }\n}",
        4,
        "Expected string literal but got",
    ),
    "parallel in a matrix": (
        "pipeline {\n agent any\n stages { stage('a') { matrix { axes { axis { name 'A'; values '1' } }\n stages { stage('b') { parallel { stage('c') { steps { echo 'x' } } } } } } } }\n}",
        4,
        '"matrix" or "parallel" cannot be nested inside another "matrix" or "parallel".',
    ),
    "matrix with an agent beside it": (
        "pipeline {\n agent none\n stages { stage('a') {\n agent any\n matrix { axes { axis { name 'A'; values '1' } }\n stages { stage('b') { steps { echo 'x' } } } } } }\n}",
        4,
        '"agent" is not allowed in stage "a" as it contains parallel or matrix stages',
    ),
    "library by something else": (
        "pipeline {\n agent any\n libraries { library 'x' }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        3,
        'Expected a "lib(...)" but got',
    ),
    "pipeline option in a stage": (
        "pipeline {\n agent any\n stages { stage('a') { options {\n disableConcurrentBuilds()\n }\n steps { echo 'x' } } }\n}",
        4,
        'Invalid option type "disableConcurrentBuilds". Valid option types: [',
    ),
    "section without block": (
        "pipeline {\n agent any\n options 'x'\n " + STAGE.format("steps { echo 'x' }") + "\n}",
        3,
        "Expected a block for options",
    ),
    "option with a block": (
        "pipeline {\n agent any\n options { timeout(1) { echo 'x' } }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        3,
        "Options definitions cannot have blocks",
    ),
    "variable twice": (
        "pipeline {\n agent any\n environment {\n A = 'x'\n A = 'y'\n }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        5,
        'Duplicate environment variable name: "A"',
    ),
    "no variables": (
        "pipeline {\n agent any\n environment { }\n " + STAGE.format("steps { echo 'x' }") + "\n}",
        3,
        "No variables specified for environment",
    ),
    "no steps": (
        "pipeline {\n agent any\n stages { stage('a') {\n steps { } } }\n}",
        4,
        "No steps specified for branch",
    ),
    "unknown parameter of a condition": (
        "pipeline {\n agent any\n stages { stage('a') { when {\n branch patern: 'x'\n }\n steps { echo 'x' } } }\n}",
        4,
        'Invalid parameter "patern", did you mean "pattern"?',
    ),
    "missing parameter of a condition": (
        "pipeline {\n agent any\n stages { stage('a') { when {\n environment name: 'x'\n }\n steps { echo 'x' } } }\n}",
        4,
        'Missing required parameter: "value"',
    ),
    "unnamed parameters of a condition": (
        "pipeline {\n agent any\n stages { stage('a') { when {\n equals 1, 2\n }\n steps { echo 'x' } } }\n}",
        4,
        'Arguments to "equals" must be explicitly named.',
    ),
    "arguments of a nested condition": (
        "pipeline {\n agent any\n stages { stage('a') { when {\n anyOf('x') { branch 'y' }\n }\n steps { echo 'x' } } }\n}",
        4,
        'No additional arguments are allowed for children when condition "anyOf".',
    ),
    "no tools": (
        "pipeline {\n agent any\n tools { }\n " + STAGE.format("steps { echo 'x' }") + "\n}",
        3,
        "No tools specified",
    ),
    "empty when": (
        "pipeline {\n agent any\n stages { stage('a') {\n when { beforeAgent true }\n steps { echo 'x' } } }\n}",
        4,
        "Empty when closure",
    ),
    "unknown post condition": (
        "pipeline {\n agent any\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n post {\n sometimes { echo 'x' }\n }\n}",
        5,
        'Invalid condition "sometimes"',
    ),
    "input without message": (
        "pipeline {\n agent none\n stages { stage('a') {\n input { id 'x' }\n steps { echo 'x' } } }\n}",
        4,
        "No message specified for input",
    ),
    "unknown input key": (
        "pipeline {\n agent none\n stages { stage('a') { input {\n message 'x'\n question 'y'\n }\n steps { echo 'x' } } }\n}",
        5,
        'Not a valid field for input: "question"',
    ),
    "name of a stage": (
        "pipeline {\n agent any\n stages {\n stage(\"a ${env.X}\") { steps { echo 'x' } }\n }\n}",
        4,
        "Expected string literal",
    ),
}


# What a plugin may bring: Jenkins may know it, so it is no result.
LACKING = {
    "options { colours() }": "the option 'colours' is not supported by pytest-jenkinsfile; supported: [",
    "options { gitLabConnection('x') }": "the option 'gitLabConnection' needs the plugin gitlab-plugin",
    "triggers { moon('x') }": "the trigger 'moon' is not supported by pytest-jenkinsfile; supported: [",
    "triggers { gitlab(triggerOnPush: true) }": "the trigger 'gitlab' needs the plugin gitlab-plugin",
    "parameters { colour(name: 'x') }": "the parameter 'colour' is not supported by pytest-jenkinsfile",
    "tools { maven 'M3' }": "the tool maven 'M3' is not configured in this scenario: tools={'maven': ['M3']}, or --tool maven=M3",
    "agent { ecs { cloud 'x' } }": "the agent type 'ecs' is not supported by pytest-jenkinsfile",
}
LACKING_IN_A_STAGE = {
    "when { moonPhase 'full' }": "the when condition 'moonPhase' is not supported by pytest-jenkinsfile",
    "when { not { moonPhase 'full' } }": "the when condition 'moonPhase' is not supported by pytest-jenkinsfile",
    "agent { kubernetes { yaml '' } }": "the agent type 'kubernetes' needs the plugin kubernetes",
    "tools { jdk 'x' }": "the tool jdk 'x' is not configured in this scenario",
}


@pytest.mark.parametrize("section", LACKING)
def test_a_feature_of_an_unknown_plugin_is_unsupported(section: str, jenkins: Jenkins) -> None:
    agent = "" if section.startswith("agent") else "agent any"
    script = f"pipeline {{ {agent}\n{section}\n" + STAGE.format("steps { sh 'never' }") + "\n}\n"
    with pytest.raises(
        UnsupportedError, match=rf"^WorkflowScript:2: {re.escape(LACKING[section])}"
    ):
        jenkins.run(script, sh={})


@pytest.mark.parametrize("section", LACKING_IN_A_STAGE)
def test_a_feature_of_an_unknown_plugin_in_a_stage_is_unsupported(
    section: str, jenkins: Jenkins
) -> None:
    script = "pipeline { agent any\n" + STAGE.format(f"\n{section}\nsteps {{ sh 'x' }}") + "\n}\n"
    message = re.escape(LACKING_IN_A_STAGE[section])
    with pytest.raises(UnsupportedError, match=rf"^WorkflowScript:3: {message}"):
        jenkins.run(script, sh={})


def test_errors_of_jenkins_take_precedence_over_unsupported_features(jenkins: Jenkins) -> None:
    script = "pipeline { agent any\noptions { colours() }\nnonsense { }\n"
    build = jenkins.run(script + STAGE.format("steps { echo 'x' }") + "\n}\n")
    assert (build.result, 'Undefined section "nonsense"' in build.text) == ("FAILURE", True)


def test_a_whole_pipeline_in_a_library_is_checked_only_where_it_is_called(
    jenkins: Jenkins, tmp_path: Path
) -> None:
    (tmp_path / "vars").mkdir()
    text = "def call() {\npipeline { agent any\noptions { colours() }\n"
    (tmp_path / "vars/whole.groovy").write_text(
        text + STAGE.format("steps { echo 'x' }") + "\n}\n}\n"
    )
    assert jenkins.run("echo 'whole'\n", library=tmp_path).result == "SUCCESS"
    with pytest.raises(UnsupportedError, match=r"vars/whole\.groovy:3: the option 'colours'"):
        jenkins.run("whole()\n", library=tmp_path)


@pytest.mark.parametrize("name", REFUSED)
def test_an_error_has_name_and_line(name: str, jenkins: Jenkins) -> None:
    script, line, message = REFUSED[name]
    build = jenkins.run(script + "\n")
    assert build.result == "FAILURE"
    assert f"WorkflowScript: {line}: " in build.text
    assert message in build.text
    assert "[Pipeline] Start of Pipeline" not in build.console


def test_a_method_call_on_an_object_is_an_error_as_in_jenkins(jenkins: Jenkins) -> None:
    build = jenkins.run(replay.script("object-method-in-steps"))
    real = replay.recorded("object-method-in-steps")[0]
    first = next(line for line in real["console"] if line.startswith("WorkflowScript: 6:"))
    assert first in build.console


def test_all_errors_are_reported_at_once(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "pipeline {\n agent any\n tool { x 'y' }\n stages { stage('a') { steps { 1 + 1 } } }\n}\n"
    )
    assert "WorkflowScript: 3:" in build.text
    assert "WorkflowScript: 4:" in build.text


def test_a_pipeline_inside_other_code_is_an_error(jenkins: Jenkins) -> None:
    build = jenkins.run("if (true) {\n pipeline { agent any }\n}\n")
    assert build.result == "FAILURE"
    assert "statement of its own" in build.text


def test_the_script_around_a_pipeline_is_groovy(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "def greeting = 'hello'\ndef upper(s) { s.toUpperCase() }\n"
        "pipeline { agent none\n stages { stage('a') { steps { echo upper(greeting) } } } }\n"
    )
    assert build.echoes == ["HELLO"]
