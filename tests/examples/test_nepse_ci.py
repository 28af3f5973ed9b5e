"""The example's own data, model and API tests, on what the stages really made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ml_pipeline import config
from ml_pipeline.config import Project
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import StageReport, Verdict
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.project.user_tests import is_comparison, run_user_tests
from ml_pipeline.stages import runner
from ml_pipeline.targets.base import Placement, deploy
from ml_pipeline.targets.loader import load_target

EXAMPLE = Path(__file__).parents[2] / "examples/nepse"


@pytest.fixture
def project(tmp_path) -> Project:
    root = tmp_path / "nepse"
    ignored = shutil.ignore_patterns("build", ".ml", "__pycache__")
    shutil.copytree(EXAMPLE, root, ignore=ignored)
    return config.load(root, ["environments.staging.port=0"], environment={})


@pytest.fixture
def run(project, make_context):
    def stage(name: str, **flags: object) -> StageReport:
        result = runner.execute(make_context(project, name, quick=True, **flags))
        assert result.report.verdict is Verdict.PASS, result.report.summary
        return result.report

    return stage


@pytest.mark.slow
def test_every_test_of_the_example(run, project):
    data = {check.name: check for check in run("validate-data", ci_data=True).checks}
    assert data["tests/data/test_data_quality.py::test_data_quality"].verdict is Verdict.PASS

    trained = run("train", max_epochs=2)
    assert not [check for check in trained.checks if "bars_since" in str(check.observed)]

    model = [check for check in run("evaluate").checks if check.name.startswith("tests/model")]
    assert [is_comparison(check) for check in model] == [True, False, False]
    assert {check.verdict for check in model[1:]} == {Verdict.PASS}

    run("package")
    home, target = Home(project.root / ".ml"), load_target("process")
    home.make()
    placement = Placement.of(project, "staging", home)
    deployed = deploy(target, placement, project.root / "build/ml/bundle", None)
    try:
        workdir = Workdir(project.root / "build/ml")
        folder = project.config.tests.staging
        api = run_user_tests(project, workdir, folder, "staging", {"endpoint": deployed.url})
    finally:
        target.stop(placement)
    assert [check.verdict for check in api] == [Verdict.PASS] * 2, api
