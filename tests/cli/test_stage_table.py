"""The records of the stages: complete, true to their modules, and nothing heavy."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from ml_pipeline.cli.parser import parse
from ml_pipeline.project import pytest_plugin, user_tests
from ml_pipeline.stages import runner
from ml_pipeline.stages.context import Context
from ml_pipeline.stages.record import NoFlags, changed, flags_of, values_of
from ml_pipeline.stages.table import STAGES, TrainFlags


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_runs_with_the_flags_of_its_record(name: str) -> None:
    module = runner.importlib.import_module(STAGES[name].module)
    hints = typing.get_type_hints(module.run)
    assert hints["context"] == Context[STAGES[name].flags]


@pytest.mark.parametrize("name", STAGES)
def test_stages_that_a_record_names_come_before_it(name: str) -> None:
    stage, names = STAGES[name], list(STAGES)
    before = set(names[: names.index(name)])
    assert {*stage.needs, *(stage.reads or ()), *filter(None, [stage.profile_of])} <= before


def test_every_artefact_has_one_maker() -> None:
    for artefact in ("data/clean.parquet", "data/holdout.parquet", "model/model.onnx", "bundle"):
        assert len([stage for stage in STAGES.values() if stage.makes(artefact)]) == 1


def test_project_tests_and_fixtures_name_stages_of_the_table() -> None:
    for name in user_tests.STAGES.values():
        source = Path(importlib.import_module(STAGES[name].module).__file__).read_text()
        assert "run_user_tests(" in source
    for verb in pytest_plugin.VERBS.values():
        name, _, environment = verb.partition(" ")
        assert name in user_tests.STAGES.values()
        assert bool(environment) is STAGES[name].environment


@pytest.mark.parametrize("name", STAGES)
def test_no_stage_imports_another(name: str) -> None:
    modules = {stage.module for stage in STAGES.values()}
    source = Path(runner.importlib.import_module(STAGES[name].module).__file__).read_text()
    imported = {
        node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)
    }
    assert not imported & modules


def test_the_table_imports_nothing_heavy() -> None:
    heavy = ("pydantic", "pandas", "mlflow", "importlib.metadata", "rich", "httpx")
    code = (
        f"import sys, ml_pipeline.stages.plugins; print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_a_misspelt_flag_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match="qiuck"):
        TrainFlags(qiuck=True)
    with pytest.raises(AttributeError, match="qiuck"):
        _ = TrainFlags().qiuck


def test_flags_are_frozen() -> None:
    with pytest.raises(AttributeError):
        TrainFlags().quick = True


def test_values_are_read_by_key_and_written_back_by_key() -> None:
    flags = values_of(TrainFlags, {"quick": True, "max_epochs": 2, "max_samples": None})
    assert (flags.quick, flags.max_epochs, flags.max_samples) == (True, 2, None)
    assert changed(flags) == {"quick": True, "max_epochs": 2}
    assert changed(NoFlags()) == {}
    names = ["quick", "max-samples", "max-epochs", "cause"]
    assert [flag.name for flag in flags_of(TrainFlags)] == names


@pytest.mark.parametrize("words", [["train"], ["run", "cd"], ["run", "ci"]])
def test_a_training_takes_its_cause_in_runs_too(words: list[str]) -> None:
    assert parse([*words, "--cause", "drift in volume_z"])["cause"] == "drift in volume_z"
