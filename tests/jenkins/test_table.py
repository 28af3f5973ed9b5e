"""Every stage of the table has its step, with help and without logic of its own."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from ml_pipeline import __version__
from ml_pipeline.core.report import SCHEMA
from ml_pipeline.stages.table import RUNS, STAGES

from tests.jenkins.conftest import ROOT, STAGE_OF, STEPS

VARS = ROOT / "vars"
CLASSES = ROOT / "src/org/mlpipeline"
SPECIAL = {
    "mlMonitor": "MonitorStep",
    "mlApprove": "ApprovalStep",
    "mlPromote": "PromoteStep",
    "mlWatch": "WatchStep",
}
GROOVY = {
    path.stem: path.read_text() for path in (*VARS.glob("*.groovy"), *CLASSES.glob("*.groovy"))
}
CALLS_TO_SERVERS = {
    "ml_pipeline.targets.loader",
    "ml_pipeline.promotion.agreement",
    "ml_pipeline.online.deployed_version",
}


def step_of(stage: str) -> str:
    return "ml" + stage.replace("-", " ").title().replace(" ", "")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_its_step(stage: str) -> None:
    step = step_of(stage)
    assert STAGE_OF[step] == stage
    text = (VARS / f"{step}.groovy").read_text()
    if step in SPECIAL:
        assert f"return new {SPECIAL[step]}(this).run(arguments)\n" in text
    else:
        assert text == (
            "import org.mlpipeline.StageStep\n\nMap call(Map arguments = [:]) {\n"
            f"    return new StageStep(this).run('{step}', arguments)\n}}\n"
        )


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_reaches_servers_gets_the_engine(stage: str) -> None:
    tree = ast.parse((ROOT / f"pipeline/{STAGES[stage].module.replace('.', '/')}.py").read_text())
    used = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    reaches_servers = bool(used & CALLS_TO_SERVERS)
    assert STEPS["steps"][step_of(stage)]["engine"] == reaches_servers


def test_every_var_is_a_step_with_help() -> None:
    """A Jenkinsfile sees each of them."""
    scripts = {path.stem for path in VARS.glob("*.groovy")}
    assert scripts == set(STEPS["steps"])
    assert {path.stem for path in VARS.glob("*.txt")} == scripts


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


# --- Groovy decides when, Python whether ----------------------------------------------------------

REPORT_METRICS = {
    "counted",
    "nothing_to_promote",
    "champion_version",
    "url",
    "seconds_left",
}
"""The metrics of a report that StageReport reads: no measure of a model."""
PARSERS = {"StepTable", "StageReport", "BuildState", "TrainingPlan"}
READERS = {"StageCommand", "StageWorkspace", "TrainingPlan"}
"""Read a report or plan, the line of an error and the marker of a workspace."""


def groovy_with(pattern: str) -> set[str]:
    return {name for name, text in GROOVY.items() if re.search(pattern, text)}


def test_only_the_report_class_reads_metrics_and_none_of_a_model() -> None:
    assert groovy_with(r"\bmetrics\b") == {"StageReport"}
    assert set(re.findall(r"\bmetrics\??\.(\w+)", GROOVY["StageReport"])) == REPORT_METRICS
    assert not groovy_with(r"(?i)p_value|effect|\bauc\b|log_loss|\brmse\b|accuracy|interval")


def test_no_number_of_a_report_is_compared() -> None:
    reported = r"(?:report|result|gate|approval|decision|promotion)\??\.\w+(?:\??\.\w+)*"
    assert not groovy_with(rf"{reported}\s*(?:<=?|>=?|<=>)\s*[\w(]")
    assert not groovy_with(rf"(?:<|>)=?\s*{reported}")
    assert not groovy_with(r"Math\.abs|as (?:double|float)|\b(?:BigDecimal|Double|Float)\b")


def test_no_file_is_parsed_but_reports() -> None:
    """Beside them the step table, the plan of a training, and the library's state in `env`."""
    parsing = (
        r"JsonSlurper|XmlSlurper|XmlParser|parseText|\bread(?:JSON|Yaml|CSV|Properties|TOML)\b"
    )
    assert groovy_with(parsing) == PARSERS
    assert groovy_with(r"\breadFile\b") == READERS


def test_no_condition_names_a_stage() -> None:
    """What differs from stage to stage is a flag in resources/steps.json."""
    stages = "|".join(STAGES)
    condition = rf"(?:==|!=|\bcase|\bresult\() ?'(?:{stages})'|\bin \['(?:{stages})'"
    assert not groovy_with(condition)


@pytest.mark.parametrize("path", sorted(CLASSES.rglob("*.groovy")), ids=lambda path: path.stem)
def test_a_class_survives_a_restart_of_the_controller(path: Path) -> None:
    """Statics are lost on a restart; fields of a serialisable class are not."""
    text = path.read_text()
    assert f"\nclass {path.stem} implements Serializable {{\n" in text
    assert not re.search(r"\bstatic\b|@Field", text)
    assert "steps.steps" not in text
