"""mlStage: a stage by its name, also one that only the installed package lists."""

from __future__ import annotations

import pytest
from ml_pipeline.stages.facts import facts_of
from ml_pipeline.stages.record import Stage, flag_set, integer_flag
from ml_pipeline.stages.table import STAGES

from tests.jenkins.conftest import Deliver, Package

LIBRARY = "@Library('ml-pipeline') _\n"
PROJECT = "project: 'examples/nepse'"


@flag_set
class DriftFlags:
    max_days: int | None = integer_flag("newest days")


DRIFT = Stage(
    name="drift",
    summary="compare requests with the training data",
    fails_when="a feature drifted",
    phase="on demand",
    flags=DriftFlags,
    environment=True,
    home=True,
    reads=(),
    credentials=("registry",),
)
CALL = f"mlStage('drift', {PROJECT}, environment: 'production', maxDays: 30)"


@pytest.fixture
def installed(package: Package) -> Package:
    """A package with a plug-in that adds the stage ``drift``."""
    package.stages = {stage.name: facts_of(stage) for stage in (*STAGES.values(), DRIFT)}
    return package


def test_a_stage_of_the_library_runs_as_its_step_does(deliver: Deliver, package: Package) -> None:
    build = deliver(f"{LIBRARY}mlStage('train', {PROJECT}, quick: true)")
    assert build.result == "SUCCESS", build.text
    assert package.flags("train")["quick"] is True
    assert not [step for step in build.calls("sh") if "stages --json" in str(step.arguments)]


def test_a_stage_of_a_plug_in_takes_its_own_arguments(deliver: Deliver, installed: Package) -> None:
    build = deliver(LIBRARY + CALL, restart_everywhere=True)
    assert build.result == "SUCCESS", build.text
    given = installed.flags("drift")
    assert (given["environment"], given["max_days"]) == ("production", 30)
    assert build.description == "drift ended with 0"


def test_its_credentials_are_bound_around_it(deliver: Deliver, installed: Package) -> None:
    login = {"username": "robot", "password": "hush-password"}
    call = f"{CALL[:-1]}, credentials: [registry: 'login', approvalKey: 'key'])"
    build = deliver(LIBRARY + call, credentials={"login": login, "key": {"file": "PRIVATE"}})
    assert build.result == "SUCCESS", build.text
    environment = installed.calls[-1].environment
    assert environment["MLFLOW_TRACKING_PASSWORD"] == "hush-password"
    assert "ML_APPROVAL_KEY" not in environment


def test_it_runs_on_the_agent_of_its_argument(deliver: Deliver, installed: Package) -> None:
    build = deliver(f"{LIBRARY}{CALL[:-1]}, agent: [image: 'ml:1'])")
    assert build.result == "SUCCESS", build.text
    assert len(build.calls("withDockerContainer")) == 1


def test_in_a_declarative_pipeline(deliver: Deliver, installed: Package) -> None:
    stage = f"stage('drift') {{ steps {{ {CALL} }} }}"
    build = deliver(f"{LIBRARY}pipeline {{ agent any; stages {{ {stage} }} }}")
    assert build.result == "SUCCESS", build.text
    assert installed.verbs == ["drift production"]


def test_it_fails_the_build_as_other_stages_do(deliver: Deliver, installed: Package) -> None:
    installed.outcomes["drift"] = {"code": 1, "summary": "3 of 8 features drifted"}
    build = deliver(LIBRARY + CALL)
    assert build.result == "FAILURE"
    assert build.description == "drift production: 3 of 8 features drifted"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "mlStage('drift', environment: 'production', maxDay: 30)",
            "mlStage('drift'): unknown argument 'maxDay'; did you mean 'maxDays'?",
        ),
        ("mlStage('drift')", "mlStage('drift'): 'environment' is missing"),
        ("mlStage('drfit')", "mlStage: no stage 'drfit' in this library or the package"),
        ("mlStage('drfit')", "; did you mean 'drift'?"),
    ],
)
def test_a_wrong_call_is_refused_on_the_agent(
    deliver: Deliver, installed: Package, call: str, message: str
) -> None:
    build = deliver(LIBRARY + call)
    assert build.result == "FAILURE"
    assert message in (build.description or "")
    assert installed.verbs == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("mlStage('drift; id')", "mlStage: 'drift; id' is no name of a stage"),
        ("mlStage('--version')", "mlStage: '--version' is no name of a stage"),
        ("mlStage('drift', agent: 'gpu')", "mlStage: 'agent' is the text 'gpu'; expected a map"),
        ("mlStage('drift', credentials: [key: 'x'])", "mlStage: unknown credential 'key'"),
    ],
)
def test_a_call_that_no_plug_in_accepts_is_refused_without_an_agent(
    deliver: Deliver, installed: Package, call: str, message: str
) -> None:
    build = deliver(LIBRARY + call)
    assert build.result == "FAILURE"
    assert message in (build.description or "")
    assert not build.calls("node")


def test_a_package_that_lists_no_stages_is_named(deliver: Deliver, package: Package) -> None:
    package.stages = None
    build = deliver(LIBRARY + CALL)
    assert build.result == "FAILURE"
    assert "mlStage: ml-pipeline stages --json failed on this agent" in (build.description or "")
