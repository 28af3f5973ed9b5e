# ruff: noqa: E501, RUF001  scripts stand in one line, with the quotation marks that Jenkins prints
"""Declarative pipelines: what is refused, by name and line, before anything runs."""

from __future__ import annotations

import pytest

from pipeline.jenkinsfile import Jenkins
from tests.jenkinsfile import replay

STAGE = "stages {{ stage('a') {{ {0} }} }}"
REFUSED = {
    "no agent": (
        "pipeline {\n stages { stage('a') { steps { echo 'x' } } }\n}",
        1,
        'Missing required section "agent"',
    ),
    "no stages": ("pipeline {\n agent any\n}", 1, 'Missing required section "stages"'),
    "unknown section": (
        "pipeline {\n agent any\n tools { maven 'x' }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        3,
        'Undefined section "tools"',
    ),
    "two agents": (
        "pipeline {\n agent any\n agent none\n " + STAGE.format("steps { echo 'x' }") + "\n}",
        3,
        "Multiple occurrences of the agent section",
    ),
    "unknown agent": (
        "pipeline {\n agent { kubernetes 'x' }\n " + STAGE.format("steps { echo 'x' }") + "\n}",
        2,
        'Invalid agent type "kubernetes"',
    ),
    "unknown agent option": (
        "pipeline {\n agent { docker {\n image 'x'\n colour 'red'\n } }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        4,
        'option for agent type "docker" "colour"',
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
        "Not a valid stage section definition",
    ),
    "no content": (
        "pipeline {\n agent any\n stages {\n stage('a') { agent any }\n }\n}",
        4,
        'Expected one of "steps", "stages", or "parallel"',
    ),
    "two contents": (
        "pipeline {\n agent any\n stages {\n stage('a') { steps { echo 'x' }\n stages { stage('b') { steps { echo 'x' } } } }\n }\n}",
        4,
        'Expected one of "steps", "stages", or "parallel"',
    ),
    "parallel with agent": (
        "pipeline {\n agent none\n stages { stage('a') {\n agent any\n parallel { stage('b') { steps { echo 'x' } } } } }\n}",
        4,
        '"agent" is not allowed in stage "a" as it contains parallel stages',
    ),
    "same name": (
        "pipeline {\n agent any\n stages {\n stage('a') { steps { echo 'x' } }\n stage('a') { steps { echo 'x' } }\n }\n}",
        3,
        'Duplicate stage name: "a"',
    ),
    "number in environment": (
        "pipeline {\n agent any\n environment {\n A = 1\n }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        4,
        "Environment variable values must either be single quoted, double quoted, or function calls.",
    ),
    "unknown option": (
        "pipeline {\n agent any\n options {\n colours()\n }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        4,
        'Invalid option "colours"',
    ),
    "pipeline option in a stage": (
        "pipeline {\n agent any\n stages { stage('a') { options {\n disableConcurrentBuilds()\n }\n steps { echo 'x' } } }\n}",
        4,
        'Invalid option "disableConcurrentBuilds"',
    ),
    "unknown condition": (
        "pipeline {\n agent any\n stages { stage('a') { when {\n changelog 'x'\n }\n steps { echo 'x' } } }\n}",
        4,
        'Invalid when condition "changelog"',
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
        'Missing required parameter: "message"',
    ),
    "unknown input key": (
        "pipeline {\n agent none\n stages { stage('a') { input {\n message 'x'\n question 'y'\n }\n steps { echo 'x' } } }\n}",
        5,
        'Undefined section "question"',
    ),
    "unknown parameter": (
        "pipeline {\n agent any\n parameters {\n colour(name: 'x')\n }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        4,
        'Invalid parameter "colour"',
    ),
    "unknown trigger": (
        "pipeline {\n agent any\n triggers {\n moon('x')\n }\n "
        + STAGE.format("steps { echo 'x' }")
        + "\n}",
        4,
        'Invalid trigger "moon"',
    ),
    "name of a stage": (
        "pipeline {\n agent any\n stages {\n stage(\"a ${env.X}\") { steps { echo 'x' } }\n }\n}",
        4,
        "Expected a stage name",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_by_name_and_line(name: str, jenkins: Jenkins) -> None:
    script, line, message = REFUSED[name]
    build = jenkins.run(script + "\n")
    assert build.result == "FAILURE"
    assert f"WorkflowScript: {line}: " in build.text
    assert message in build.text
    assert "[Pipeline] Start of Pipeline" not in build.console


def test_matrix_is_refused_by_name(jenkins: Jenkins) -> None:
    build = jenkins.run(replay.script("matrix"))
    assert 'WorkflowScript: 5: Unknown stage section "matrix"' in build.text
    assert build.stages == []


def test_the_method_of_an_object_is_refused_as_by_jenkins(jenkins: Jenkins) -> None:
    build = jenkins.run(replay.script("object-method-in-steps"))
    real = replay.recorded("object-method-in-steps")[0]
    first = next(line for line in real["console"] if line.startswith("WorkflowScript: 6:"))
    assert first in build.console


def test_every_fault_is_named_at_once(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "pipeline {\n agent any\n tools { x 'y' }\n stages { stage('a') { steps { 1 + 1 } } }\n}\n"
    )
    assert "WorkflowScript: 3:" in build.text
    assert "WorkflowScript: 4:" in build.text


def test_a_pipeline_inside_other_code_is_not_understood(jenkins: Jenkins) -> None:
    build = jenkins.run("if (true) {\n pipeline { agent any }\n}\n")
    assert build.result == "FAILURE"
    assert "statement of its own" in build.text


def test_the_script_around_a_pipeline_is_groovy(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "def greeting = 'hello'\ndef upper(s) { s.toUpperCase() }\n"
        "pipeline { agent none\n stages { stage('a') { steps { echo upper(greeting) } } } }\n"
    )
    assert build.echoes == ["HELLO"]
