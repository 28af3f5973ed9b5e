"""Every stage of the table has its step, thin and alike, with its help."""

from __future__ import annotations

import ast
import re

import pytest
from ml_pipeline import __version__
from ml_pipeline.core.report import SCHEMA
from ml_pipeline.stages.table import RUNS, STAGES

from tests.jenkins.conftest import OWN, ROOT, STEPS

VARS = ROOT / "vars"
INTERNAL = {"mlBuild", "mlLibrary", "mlOutcome", "mlStage"}
SPECIAL = {"mlApprove", "mlPromote", "mlWatch"}


def step_of(stage: str) -> str:
    return "ml" + stage.replace("-", " ").title().replace(" ", "")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_its_step(stage: str) -> None:
    step = step_of(stage)
    assert OWN[step] == stage
    text = (VARS / f"{step}.groovy").read_text()
    if step not in SPECIAL:
        assert text == (
            f"def call(Map arguments = [:]) {{\n    return mlStage('{step}', arguments)\n}}\n"
        )


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_asks_where_servers_run_gets_the_engine(stage: str) -> None:
    tree = ast.parse((ROOT / f"pipeline/{STAGES[stage].module.replace('.', '/')}.py").read_text())
    used = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    asks = bool(used & {"ml_pipeline.targets.loader", "ml_pipeline.promotion.agreement"})
    assert STEPS["steps"][step_of(stage)]["engine"] == asks


def test_every_var_is_a_step_with_help_or_internal() -> None:
    scripts = {path.stem for path in VARS.glob("*.groovy")}
    assert scripts == set(STEPS["steps"]) | INTERNAL
    assert {path.stem for path in VARS.glob("*.txt")} == scripts


@pytest.mark.parametrize("name", sorted(INTERNAL))
def test_what_is_internal_says_so(name: str) -> None:
    assert "\nInternal; not for a Jenkinsfile." in (VARS / f"{name}.txt").read_text()


def test_the_runs_are_those_of_the_command_line() -> None:
    for name in ("ci", "cd"):
        steps = STEPS["runs"][name]
        assert [(step["stage"], step["environment"]) for step in steps] == [
            (stage, environment) for stage, environment, _ in RUNS[name]
        ]
        assert all(step["step"] == step_of(step["stage"]) for step in steps)


def test_the_contract_is_the_packages() -> None:
    assert __version__.startswith(STEPS["contract"] + ".")
    assert STEPS["report"] == SCHEMA


def test_credentials_name_stages_that_exist() -> None:
    for about in STEPS["credentials"].values():
        assert set(about["stages"]) <= set(STAGES)


def test_the_private_key_is_bound_around_approve_alone() -> None:
    assert STEPS["credentials"]["approvalKey"]["stages"] == ["approve"]


def test_the_steps_compute_nothing() -> None:
    """Groovy decides when, Python whether: no metric and no number of a report is looked at."""
    for path in VARS.glob("*.groovy"):
        text = path.read_text()
        assert not re.search(
            r"p_value|effect|\bauc\b|log_loss|Math\.abs|as double|BigDecimal", text
        )


def test_the_library_stays_thin() -> None:
    """Three lines a stage, and what they share: of which a quarter says how a build ended."""
    lines = sum(len(path.read_text().splitlines()) for path in ROOT.glob("vars/*.groovy"))
    assert lines - 3 * len(STAGES) < 1700
