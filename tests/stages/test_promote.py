"""Promotion with a real server process; tests/promotion has every way in which it is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from ml_pipeline import cli
from ml_pipeline.config import Project
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.gate.record import record
from ml_pipeline.promotion.environment import mark_stopped
from ml_pipeline.promotion.status import status
from ml_pipeline.registry.records import GATE_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version
from ml_pipeline.stages.context import Context
from ml_pipeline.stages.runner import Result, execute
from ml_pipeline.targets.base import Deployment, Placement
from ml_pipeline.targets.loader import load_target


class Case:
    def __init__(
        self,
        project: Project,
        make_context: Callable[..., Context],
        make_bundle: Callable[..., Path],
    ) -> None:
        self.project, self.make_context, self.make_bundle = project, make_context, make_bundle
        self.home = Home(project.root / ".ml")
        self.placement = Placement.of(project, "production", self.home)
        self.registry = Registry.of(project, self.home)

    def approved(self, name: str, **bundle: Any) -> Version:
        """Register a bundle, let the gate pass it, and approve it."""
        from ml_pipeline.approval import policy as policies

        version = self.registry.register(self.make_bundle(name, **bundle)).version
        champion = self.registry.read().champion
        content = record(
            [Check(name="better", verdict=Verdict.PASS)],
            {},
            summary="better",
            challenger=version.digest,
            champion=None if champion is None else champion.digest,
            policy=policies.load(None, self.project.config.policy).digest,
        )
        self.registry.records.attach(version, GATE_RECORD, content)
        context = self.make_context(self.project, "approve", by="Asha", reason="better")
        assert execute(context).exit_code == 0
        return version

    def promote(self) -> Result:
        return execute(self.make_context(self.project, "promote"))

    def answer(self) -> dict[str, Any]:
        """What production says to the first golden row."""
        values = yaml.safe_load((self.home / "production-model.yaml").read_text())
        response = httpx.post(
            f"{values['serving_endpoint']}/predict",
            json={"features": [1.0, "north"]},
            trust_env=False,
        )
        answer: dict[str, Any] = response.raise_for_status().json()
        return answer

    def running(self) -> Deployment | None:
        return load_target("process").status(self.placement)

    def stop(self) -> bool:
        mark_stopped(self.home)
        return load_target("process").stop(self.placement)


@pytest.fixture
def case(
    make_project: Callable[..., Project],
    make_context: Callable[..., Context],
    make_bundle: Callable[..., Path],
    registry_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Case]:
    monkeypatch.delenv("ML_APPROVAL_KEY", raising=False)
    project = make_project(environments={"production": {"port": 0}})
    home = Home(project.root / ".ml")
    home.make()
    (home / "mlflow.db").write_bytes(registry_database.read_bytes())
    case = Case(project, make_context, make_bundle)
    yield case
    case.stop()


def test_from_the_first_version_to_the_second_and_back_up(case: Case) -> None:
    case.approved("one")
    result = case.promote()
    assert (result.exit_code, result.report.verdict) == (0, Verdict.PASS)
    assert case.answer()["model_version"] == 1

    case.approved("two", identity="b", weight=2.0)
    result = case.promote()
    assert result.report.summary.startswith("version 2 is in production: http://127.0.0.1:")
    answer = case.answer()
    assert answer["model_version"] == 2
    assert answer["probability"] == pytest.approx(0.9241418, abs=1e-6)

    case.stop()
    result = case.promote()
    assert result.exit_code == 0
    assert result.report.summary.startswith("nothing to promote: version 2 is the champion")
    assert "started again" in result.report.summary
    assert case.answer() == answer, "production-model.yaml has the new port"
    running = case.running()
    assert running is not None
    assert running.version == 2


def test_an_unhealthy_server_leaves_the_former_one_serving(case: Case) -> None:
    case.approved("one")
    assert case.promote().exit_code == 0
    before = (case.home / "production-model.yaml").read_bytes()
    case.approved("two", identity="b", weight=2.0, golden_shift=0.2)
    result = case.promote()
    assert (result.exit_code, result.report.verdict) == (1, Verdict.FAIL)
    assert "golden" in result.report.summary
    assert case.answer()["model_version"] == 1
    champion = case.registry.read().champion
    assert champion is not None
    assert champion.number == 1
    assert (case.home / "production-model.yaml").read_bytes() == before


def test_deploy_gives_production_what_was_promoted_and_nothing_else(case: Case) -> None:
    def deploy(**flags: Any) -> Result:
        return execute(case.make_context(case.project, "deploy", "production", **flags))

    first = case.approved("one")
    refused = deploy()
    assert refused.exit_code == 1
    assert "run 'ml-pipeline promote'" in refused.report.summary
    assert case.running() is None
    assert case.promote().exit_code == 0
    case.stop()

    case.approved("two", identity="b", weight=2.0)
    assert deploy(version=2).exit_code == 1
    assert deploy().exit_code == 0
    running = case.running()
    assert running is not None
    assert running.version == 1

    case.registry.records.attach(first, "approval.dsse.json", b"{}")
    assert deploy(version=1).exit_code == 1


def test_the_working_folder_is_not_believed(case: Case) -> None:
    version = case.approved("one")
    approval = case.project.root / "build/ml/approval.dsse.json"
    case.registry.records.attach(version, "approval.dsse.json", b"{}")
    assert approval.exists()
    result = case.promote()
    assert result.exit_code == 1
    assert "not a DSSE envelope" in result.report.summary


def test_only_the_profile_of_its_own_data_is_accepted(case: Case) -> None:
    profile = case.project.root / "build/ml/data/profile.json"
    profile.parent.mkdir(parents=True)
    profile.write_text(json.dumps({"fingerprint": "0" * 64}))
    case.approved("one")
    assert case.promote().exit_code == 0
    assert not (case.home / "accepted/profile.json").exists()
    profile.write_text(json.dumps({"fingerprint": "d" * 64}))
    case.approved("two", identity="b", weight=2.0)
    assert case.promote().exit_code == 0
    assert (case.home / "accepted/profile.json").read_bytes() == profile.read_bytes()


def test_without_a_production_environment(
    case: Case, make_project: Callable[..., Project], make_context: Callable[..., Context]
) -> None:
    project = make_project(bare=True, project="small", environments={"staging": {"port": 0}})
    result = execute(make_context(project, "promote"))
    assert result.exit_code == 2
    assert "no environment 'production'" in result.report.summary


def test_a_registry_that_does_not_answer_is_an_environment_fault(case: Case) -> None:
    (case.home / "mlflow.db").write_bytes(b"broken" * 1000)
    assert case.promote().exit_code == 3


def test_a_registry_that_is_lost_is_told_by_every_stage_and_not_replaced(case: Case) -> None:
    case.approved("one")
    assert case.promote().exit_code == 0
    case.approved("two", identity="b", weight=2.0)
    (case.home / "mlflow.db").rename(case.home / "away.db")
    for stage in ("promote", "gate", "approve"):
        result = execute(case.make_context(case.project, stage, by="Asha", reason="better"))
        assert result.exit_code == 3, stage
        told = f"{case.home / 'mlflow.db'} is gone, though this home's history knows version 1; "
        assert told in result.report.summary, stage
    assert not (case.home / "mlflow.db").exists()
    (case.home / "away.db").rename(case.home / "mlflow.db")
    assert case.promote().exit_code == 0
    assert case.answer()["model_version"] == 2


def test_a_registry_that_is_lost_is_made_again_where_it_is_asked_for(case: Case) -> None:
    """By commands of their own: MLflow keeps a lost file open in the process that used it."""
    case.approved("one")
    assert case.promote().exit_code == 0
    (case.home / "mlflow.db").unlink()

    def command(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ml_pipeline", *words, "--json", "--project", case.project.root],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    told = json.loads(command("reconcile", "production", "--restore-registry"))["summary"]
    assert "; version 1 was registered again; the registry's alias 'champion' named no" in told
    (row,) = json.loads(command("status"))
    assert (row["alias"], row["version"], row["open"]) == ("champion, challenger", 1, None)
    assert row["approved"].startswith("approve by Asha")


class TestStatus:
    def test_says_what_serves_and_who_approved_it(self, case: Case) -> None:
        version = case.approved("one")
        case.promote()
        (row,) = [r for r in status(case.project, case.home) if r["environment"] == "production"]
        assert row["state"] == "up"
        assert (row["version"], row["alias"]) == (1, "champion, challenger")
        assert row["bundle"] == version.digest[:12]
        assert row["approved"].startswith("approve by Asha (flags), ")

    def test_does_not_believe_a_forged_approval(self, case: Case) -> None:
        version = case.approved("one")
        case.promote()
        case.registry.records.attach(version, "approval.dsse.json", b'{"by": "Asha"}')
        (row,) = [r for r in status(case.project, case.home) if r["environment"] == "production"]
        assert row["approved"].startswith("not verified: ")

    def test_without_its_registry_says_so_and_shows_what_is_known(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        case.approved("one")
        case.promote()
        before, away = (
            status(case.project, case.home),
            "registry http://127.0.0.1:9 does not answer",
        )
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        section = case.project.config.registry.model_copy(update={"uri": "http://127.0.0.1:9"})
        config = case.project.config.model_copy(update={"registry": section})
        (row,) = status(replace(case.project, config=config), case.home)
        assert row["alias"].startswith(away)
        assert [row | {"alias": "champion, challenger"}] == before

    def test_where_an_environment_does_not_tell_the_others_are_shown(
        self, case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        case.approved("one")
        case.promote()
        path = case.project.root / "ml.yaml"
        values = yaml.safe_load(path.read_text())
        values["environments"]["staging"] = {"target": "docker", "port": 0}
        path.write_text(yaml.safe_dump(values))
        (case.home / "servers").mkdir(exist_ok=True)
        (case.home / "servers/containers").write_text("0a1b2c3d\n")
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
        assert cli.main(["status", "--json", "--project", str(case.project.root)]) == 3
        told = capsys.readouterr()
        rows = {row["environment"]: row for row in json.loads(told.out)}
        assert (rows["production"]["state"], rows["production"]["version"]) == ("up", 1)
        assert (rows["staging"]["state"], rows["staging"]["version"]) == ("unknown", None)
        assert "the Docker engine does not answer" in rows["staging"]["open"]
        assert told.err.startswith("ml-pipeline status: staging: the Docker engine does not answer")

    def test_of_a_server_that_is_down_tells_what_is_to_serve(self, case: Case) -> None:
        case.approved("one")
        case.promote()
        case.stop()
        (row,) = status(case.project, case.home)
        assert (row["state"], row["version"]) == ("down", None)
        assert row["open"] == "version 1 is to serve: 'ml-pipeline reconcile production'"

    def test_says_where_registry_history_and_production_differ(self, case: Case) -> None:
        one = case.approved("one")
        case.promote()
        case.registry.aliases.set("champion", None)
        (row,) = status(case.project, case.home)
        assert row["open"] == (
            "the champion is unknown: the registry's alias 'champion' differs from the history "
            "and production: 'ml-pipeline reconcile production'"
        )
        held = f"version 1, bundle {one.digest[:12]}"
        assert row["details"] == [
            "the registry's alias 'champion': nothing",
            f"the history: {held}",
            f"production: {held}",
        ]

    def test_shows_a_challenger_that_serves_nowhere(
        self, case: Case, capsys: pytest.CaptureFixture[str]
    ) -> None:
        case.approved("one")
        case.promote()
        two = case.approved("two", identity="b", weight=2.0)
        (_, row) = status(case.project, case.home)
        assert (row["environment"], row["state"], row["version"]) == (None, "registered", 2)
        assert (row["alias"], row["bundle"]) == ("challenger", two.digest[:12])
        assert row["open"] == "not promoted: 'ml-pipeline promote'"
        three = case.registry.register(case.make_bundle("three", identity="c", weight=3.0)).version
        (_, row) = status(case.project, case.home)
        assert (row["version"], row["approved"]) == (three.number, None)
        assert row["open"] == "the gate has not decided: 'ml-pipeline gate'"
        assert cli.main(["status", "--project", str(case.project.root)]) == 0
        assert "registered" in capsys.readouterr().out

    def test_of_a_registry_that_lost_its_versions_says_so(
        self, case: Case, registry_database: Path
    ) -> None:
        case.approved("one")
        case.promote()
        (other := case.home / "other.db").write_bytes(registry_database.read_bytes())
        section = case.project.config.registry.model_copy(update={"uri": f"sqlite:///{other}"})
        config = case.project.config.model_copy(update={"registry": section})
        (row,) = status(replace(case.project, config=config), case.home)
        assert (row["version"], row["alias"]) == (1, "not in the registry")

    def test_of_a_registry_that_is_lost_says_so_and_shows_what_is_known(
        self, case: Case, capsys: pytest.CaptureFixture[str]
    ) -> None:
        case.approved("one")
        case.promote()
        before = status(case.project, case.home)
        (case.home / "mlflow.db").unlink()
        assert cli.main(["status", "--json", "--project", str(case.project.root)]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert row["alias"] == (
            f"registry {case.home / 'mlflow.db'} is gone, though this home's history knows "
            "version 1"
        )
        assert [row | {"alias": "champion, challenger"}] == before
        assert cli.main(["status", "--project", str(case.project.root)]) == 0
        table, _, told = capsys.readouterr().out.partition("\naliases: ")
        assert "unknown" in table
        assert "is gone" not in table
        assert told.startswith(row["alias"])
        assert not (case.home / "mlflow.db").exists()

    def test_of_a_new_project_makes_nothing(self, make_project: Callable[..., Project]) -> None:
        project = make_project("new")
        rows = status(project, Home(project.root / ".ml"))
        assert {row["state"] for row in rows} == {"down"}
        assert not (project.root / ".ml").exists()
