from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ml_pipeline.config import Project
from ml_pipeline.core import report, workdir
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import ModelRef, StageReport, Verdict
from ml_pipeline.registry.registry import Registry
from ml_pipeline.stages.context import Context
from ml_pipeline.stages.runner import Result, execute


class Case:
    def __init__(
        self,
        project: Project,
        make_context: Callable[..., Context],
        make_bundle: Callable[..., Path],
    ) -> None:
        self.project, self.make_context, self.make_bundle = project, make_context, make_bundle

    def register(
        self,
        name: str,
        *,
        quick: bool = False,
        overrides: dict[str, str] | None = None,
        trained: dict[str, object] | None = None,
        **bundle: object,
    ) -> Result:
        """Package a bundle, then register it."""
        context = self.make_context(self.project, "register", quick=quick)
        context.workdir.make()
        (context.workdir / "bundle").rmdir()
        self.make_bundle(f"{self.project.root.name}/build/ml/bundle", **bundle)
        now = datetime.now(UTC)
        packaged = StageReport(
            stage="package",
            verdict=Verdict.PASS,
            summary="packaged",
            outputs={"bundle": workdir.digest(context.workdir / "bundle")},
            run_id="test-run",
            started=now,
            finished=now,
        )
        for stage in ("validate-data", "train", "package"):
            told = {"stage": stage, "overrides": overrides or {}}
            told |= trained or {} if stage == "train" else {}
            report.write(packaged.model_copy(update=told), context.workdir)
        result = execute(context)
        (context.workdir / "bundle").rename(context.workdir / f"bundle-{name}")
        return result


@pytest.fixture
def case(
    make_project: Callable[..., Project],
    make_context: Callable[..., Context],
    make_bundle: Callable[..., Path],
    registry_database: Path,
) -> Case:
    project = make_project()
    (project.root / ".ml").mkdir()
    (project.root / ".ml/mlflow.db").write_bytes(registry_database.read_bytes())
    return Case(project, make_context, make_bundle)


def test_the_bundle_becomes_the_challenger(case: Case) -> None:
    result = case.register("one")
    assert (result.exit_code, result.report.verdict) == (0, Verdict.PASS)
    assert result.report.summary == "version 1 of 'small' is the challenger"
    assert result.report.model is not None
    assert (result.report.model.version, result.report.model.identity) == (1, "a" * 64)
    assert "bundle" in result.report.inputs


def test_the_same_identity_again_passes_and_says_so(case: Case) -> None:
    case.register("one")
    result = case.register("two")
    assert result.exit_code == 0
    assert result.report.summary.endswith("this identity was registered before")
    assert result.report.model is not None
    assert result.report.model.version == 1


def test_other_content_under_the_identity_is_refused(case: Case) -> None:
    case.register("one")
    result = case.register("two", weight=2.0)
    assert (result.exit_code, result.report.verdict) == (1, Verdict.FAIL)
    assert "has this identity with other content: content of golden.json, model.onnx" in (
        result.report.summary
    )
    assert "the fit does not repeat itself" in result.report.summary


def test_the_version_says_why_it_was_trained_and_how_long_that_took(case: Case) -> None:
    """Only the report of the training that made this bundle is believed."""
    started = datetime(2026, 5, 12, tzinfo=UTC)
    trained = {
        "started": started,
        "finished": started + timedelta(seconds=90),
        "metrics": {"cause": "drift in volume_z"},
        "model": ModelRef(name="small", identity="a" * 64),
    }
    other = ModelRef(name="small", identity="c" * 64)
    case.register("one", trained=trained)
    case.register("two", trained=trained | {"model": other}, identity="b")
    first, second = Registry.of(case.project, Home(case.project.root / ".ml")).read().versions
    assert (first.tags["cause"], first.tags["train.seconds"]) == ("drift in volume_z", "90.0")
    assert {"cause", "train.seconds"}.isdisjoint(second.tags)


@pytest.mark.parametrize(("quick", "profile"), [(True, "full"), (False, "quick")])
def test_a_quick_model_is_refused(case: Case, quick: bool, profile: str) -> None:
    result = case.register("one", quick=quick, profile=profile)
    assert result.exit_code == 1
    assert "a quick model is not registered" in result.report.summary


@pytest.mark.needs("git")
def test_the_commit_is_a_tag_and_what_else_shaped_the_model(case: Case) -> None:
    from ml_pipeline.bundle import identity, source
    from ml_pipeline.core.home import Home
    from ml_pipeline.registry.registry import Registry

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=A", "-c", "user.email=a@ex.org")
        return subprocess.run(
            ["git", *identity, *arguments],
            cwd=case.project.root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    git("init", "-q")
    (case.project.root / ".gitignore").write_text("build\n.ml\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    made = {
        "source": source.archive(case.project),
        "identity_parts": dict(identity.identity(case.project, "f" * 64).parts),
    }
    assert case.register("one", **made).exit_code == 0
    registry = Registry.of(case.project, Home(case.project.root / ".ml"))
    first = registry.read().version(1)
    assert first.tags["git.commit"] == git("rev-parse", "HEAD")
    assert first.tags["git.dirty"] == "false"
    by = {"train.seed": "--set train.seed of user asha"}
    assert case.register("two", identity="b", overrides=by, **made).exit_code == 0
    second = registry.read().version(2)
    assert second.tags["git.dirty"] == "true"
    assert second.tags["git.dirty.why"] == "train.seed set by --set train.seed of user asha"


def test_a_registry_that_is_lost_is_not_begun_anew(case: Case) -> None:
    home = case.project.root / ".ml"
    (home / "mlflow.db").unlink()
    (home / "history.jsonl").write_text('{"version": 1}\n{"version": 2}\n')
    result = case.register("one")
    assert result.exit_code == 3
    assert f"{home / 'mlflow.db'} is gone, though this home's history knows versions 1, 2" in (
        result.report.summary
    )
    assert not (home / "mlflow.db").exists()


def test_a_registry_that_does_not_answer_is_an_environment_fault(case: Case) -> None:
    (case.project.root / ".ml/mlflow.db").write_bytes(b"broken" * 1000)
    result = case.register("one")
    assert result.exit_code == 3
    assert "does not answer" in result.report.summary
    assert json.loads(result.report.to_json())["verdict"] == "error"
