"""Another repository of the same project name on one ML_HOME: nothing of its home is read."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from ml_pipeline import cli
from ml_pipeline.config import Project
from ml_pipeline.core.home import Home, Owner
from ml_pipeline.core.repository_origin import Origin

THEIRS = Origin("", "git.example.org/team/churn")
BREAKING = "gate: {allow_breaking_contract: false}"
SMALL = {"source": {"kind": "simulated", "symbols": 24, "days": 60}}


@pytest.fixture
def project(
    make_project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Project:
    """A project whose name's home is another repository's, with accepted data that is no JSON."""
    made: Project = make_project("churn", data=SMALL, environments={})
    git = ["git", "-C", str(made.root)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run(
        [*git, "remote", "add", "origin", "https://git.example.org/other/churn"], check=True
    )
    monkeypatch.setenv("ML_HOME", str(tmp_path / "ml"))
    monkeypatch.delenv("ML_POLICY", raising=False)
    name = made.config.project
    home = Home(tmp_path / "ml" / name, Owner(name, made.model_name, lambda: THEIRS))
    home.make()
    (home / "accepted").mkdir()
    (home / "accepted/profile.json").write_text("[")
    (home / "mlflow.db").write_text("no database")
    return made


def ran(project: Project, *words: str) -> int:
    return cli.main([*words, "--project", str(project.root)])


@pytest.mark.parametrize(
    "words", [("validate-data",), ("train",), ("gate",), ("run", "cd"), ("run", "all")]
)
def test_what_compares_with_production_is_refused_before_it_runs(
    project: Project, words: tuple[str, ...], capsys: pytest.CaptureFixture
) -> None:
    assert ran(project, *words) == 2
    out = capsys.readouterr()
    told = out.out + out.err
    assert "belongs to project" in told
    assert "git.example.org/team/churn" in told
    assert not (project.root / "build/ml/data/clean.parquet").exists()
    if words[0] == "run":
        assert not list((project.root / "build/ml").glob("reports/*.json")), "no stage began"


def test_a_pull_requests_run_reads_no_home(project: Project) -> None:
    assert ran(project, "validate-data", "--ci-data") == 0
    assert ran(project, "train", "--quick", "--max-epochs", "2") != 2
    report = json.loads((project.root / "build/ml/reports/train.json").read_text())
    assert "belongs to" not in report["summary"]


class TestAPolicyThatMlYamlWouldLoosen:
    """``run cd`` says so at its start, and ``doctor`` at any time."""

    @pytest.fixture
    def alone(self, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
        monkeypatch.setenv("ML_HOME", str(tmp_path / "own"))
        return project

    @pytest.mark.parametrize(
        ("policy", "section", "key"),
        [
            ("four_eyes: true", {"policy": {"four_eyes": False}}, "policy.four_eyes"),
            (BREAKING, {"gate": {"allow_breaking_contract": True}}, "allow_breaking_contract"),
            ("gate: {alpha: 0.01}", {"gate": {"alpha": 0.05}}, "gate.alpha"),
            ("gate: {min_days: 90}", {"gate": {"min_days": 30}}, "gate.min_days"),
            ("gate: {goal: superior}", {"gate": {"goal": "non_inferior"}}, "gate.goal"),
        ],
    )
    def test_is_refused_with_the_file_that_holds(
        self,
        alone: Project,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture,
        policy: str,
        section: dict[str, dict[str, object]],
        key: str,
    ) -> None:
        path = tmp_path / "strict.yaml"
        path.write_text(policy + "\n")
        monkeypatch.setenv("ML_POLICY", str(path))
        file = alone.root / "ml.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | section))
        assert ran(alone, "run", "cd") == 2
        told = capsys.readouterr().err
        assert key in told
        assert f"ml.yaml may only tighten {path}" in told
        assert not list((alone.root / "build/ml").glob("reports/*.json")), "no stage began"
        assert ran(alone, "doctor", "--json") == 2
        (found,) = [c for c in json.loads(capsys.readouterr().out) if c["name"] == "policy"]
        assert (found["verdict"], found["required"]) == ("fail", True)
        assert key in found["observed"]
