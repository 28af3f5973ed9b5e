"""Named arguments are checked before anything runs."""

from __future__ import annotations

import pytest
from pytest_jenkinsfile import Build

from tests.jenkins.conftest import Deliver, Package

LIBRARY = "@Library('ml-pipeline') _\n"

WRONG = [
    ("mlTrain(maxEpoch: 5)", "mlTrain: unknown argument 'maxEpoch'; did you mean 'maxEpochs'?"),
    ("mlTrain(maxEpochs: 'a5')", "mlTrain: 'maxEpochs' is the text 'a5'; expected a whole number"),
    ("mlTrain(maxEpochs: '-5')", "mlTrain: 'maxEpochs' is the text '-5'; expected a whole number"),
    ("mlTrain(maxEpochs: '99999999999')", "expected a whole number"),
    ("mlTrain(maxEpochs: 1.5)", "'maxEpochs' is the BigDecimal '1.5'; expected a whole number"),
    ("mlRollback(to: 'abc')", "mlRollback: 'to' is the text 'abc'; expected a whole number"),
    ("mlApprove(hours: true)", "mlApprove: 'hours' is the Boolean 'true'; expected a whole number"),
    ("mlTrain(quick: 'false')", "mlTrain: 'quick' is the text 'false'; expected true or false"),
    ("mlLint(project: '../other')", "'project' is the text '../other'; expected a path inside"),
    ("mlLint(project: '/etc')", "expected a path inside the workspace"),
    ("mlLint(project: [:])", "expected a path inside the workspace"),
    (
        "mlLint(set: [1])",
        "mlLint: 'set' is the ArrayList '[1]'; expected a text or a list of texts",
    ),
    ("mlDeploy(environment: '../prod')", "'environment' is the text '../prod'; expected letters"),
    ("mlDeploy()", "mlDeploy: 'environment' is missing"),
    (
        "mlGate(whenKept: 'unstabel')",
        "mlGate: 'whenKept' is the text 'unstabel'; did you mean 'unstable'?",
    ),
    (
        "mlRegister(credentials: [registri: 'x'])",
        "unknown credential 'registri'; did you mean 'registry'?",
    ),
    ("mlRegister(credentials: [registry: 5])", "credential 'registry' is the Integer '5'"),
    ("mlApprove(by: 'alice')", "mlApprove: unknown argument 'by'"),
    ("mlApprove(yes: true)", "mlApprove: unknown argument 'yes'"),
    (
        "mlAgent(imgae: 'x') { echo 'in' }",
        "mlAgent: unknown argument 'imgae'; did you mean 'image'?",
    ),
    ("mlAgent(image: 'x', node: 'y') { echo 'in' }", "mlAgent: image and node exclude each other"),
    ("mlAgent(home: '/a b') { echo 'in' }", "mlAgent: 'home' is '/a b'"),
    ("mlAgent(image: 'x', cache: '$(id)') { echo 'in' }", "'cache' is '$(id)'"),
    ("mlPipeline(stages: [train: false])", "stages: evaluate needs what train makes"),
    ("mlPipeline(stages: ['validate-data': false])", "stages: train needs what validate-data"),
    ("mlPipeline(stages: [train: false, evaluate: false])", "package needs what train makes"),
    ("mlPipeline(stages: [train: [epochs: 5]])", "mlTrain: unknown argument 'epochs'"),
    ("mlPipeline(whenKept: true)", "mlPipeline: 'whenKept' is the Boolean 'true'; expected a text"),
    ("mlRun(stage: 'trian')", "mlRun: no stage 'trian'; did you mean 'train'?"),
    (
        "mlPipeline(kubernetes: [image: 'x'], stages: [train: [image: 'y']])",
        "not possible with kubernetes",
    ),
]


def refused(deliver: Deliver, package: Package, call: str, message: str) -> Build:
    """Return the build of a call that fails with the message before any stage runs."""
    build = deliver(f"{LIBRARY}{call}\n")
    assert build.result == "FAILURE"
    assert message in build.text
    assert not package.calls
    return build


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[call for call, _ in WRONG])
def test_a_wrong_argument_fails_before_anything_runs(
    deliver: Deliver, package: Package, call: str, message: str
) -> None:
    build = refused(deliver, package, call, message)
    assert not build.calls("node")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("mlPipeline(stages: [trian: false])", "stages: no stage 'trian'; did you mean 'train'?"),
        ("mlPipeline(before: [gates: { }])", "before: no stage 'gates'; did you mean 'gate'?"),
    ],
)
def test_a_name_that_could_be_a_plugins_is_looked_up_before_any_stage(
    deliver: Deliver, package: Package, call: str, message: str
) -> None:
    refused(deliver, package, call, message)


def test_a_text_may_be_interpolated(deliver: Deliver, package: Package) -> None:
    call = 'mlLint(project: "examples/${name}", set: "a.b=${name}")'
    script = f"{LIBRARY}def name = 'nepse'\n{call}\n"
    assert deliver(script).result == "SUCCESS"
    assert package.flags("lint")["set"] == ["a.b=nepse"]


def test_a_step_takes_named_arguments_only(deliver: Deliver, package: Package) -> None:
    build = deliver(f"{LIBRARY}mlDeploy('staging')\n")
    assert build.result == "FAILURE"
    assert not package.calls


def test_a_step_returns_a_small_map(deliver: Deliver) -> None:
    call = "mlDeploy(environment: 'staging', project: 'examples/nepse', version: 7)"
    script = f"{LIBRARY}def result = {call}\n"
    keys = ("stage", "environment", "verdict", "version", "summary")
    shown = " ".join(f"${{result.{key}}}" for key in keys)
    script += f'echo "{shown}"\n'
    assert "deploy staging pass 7 deploy ended with 0" in deliver(script).echoes
