"""Three projects deliver, roll back and stop on one ML_HOME; each leaves the others alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from ml_pipeline import cli
from ml_pipeline.approval import policy as policies
from ml_pipeline.config import Project
from ml_pipeline.core.home import Home, Owner, find_home
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.gate.record import record
from ml_pipeline.registry.records import GATE_RECORD
from ml_pipeline.registry.registry import Registry

from tests.servers import free_port

NAMES = ("churn", "fraud", "keys")


class Member:
    """One of the projects that share ``ML_HOME``."""

    def __init__(
        self, project: Project, home: Home, make_bundle: Callable[..., Path], database: Path
    ) -> None:
        self.project, self.name, self.make_bundle = project, project.config.project, make_bundle
        self.home = home
        if not (self.home / "mlflow.db").exists():
            self.home.make()
            shutil.copyfile(database, self.home / "mlflow.db")
        self.registry = Registry.of(project, self.home)

    def __call__(self, *words: str) -> int:
        return cli.main([*words, "--project", str(self.project.root)])

    def deliver(self, weight: float) -> None:
        """Register a version, approve it and promote it."""
        bundle = self.make_bundle(
            f"{self.name}-{weight}",
            weight=weight,
            identity=f"{int(weight)}",
            project=self.name,
        )
        version, champion = self.registry.register(bundle).version, self.registry.read().champion
        content = record(
            [Check(name="better", verdict=Verdict.PASS)],
            {},
            summary="better",
            challenger=version.digest,
            champion=None if champion is None else champion.digest,
            policy=policies.load(None, self.project.config.policy).digest,
        )
        self.registry.records.attach(version, GATE_RECORD, content)
        assert self("approve", "--by", "Asha", "--reason", "better") == 0
        assert self("promote") == 0

    def in_production(self) -> tuple[int, str]:
        """What production answers, and the content of everything that says what it is."""
        path = self.home / "production-model.yaml"
        values = yaml.safe_load(path.read_text())
        assert values["model_name"] == self.name
        answer = httpx.post(
            f"{values['serving_endpoint']}/predict", json={"features": [1.0, "north"]}
        ).raise_for_status()
        assert {line["model"] for line in self.history()} == {self.name}
        champion = self.registry.read().champion
        assert champion is not None
        assert champion.number == values["model_version"] == answer.json()["model_version"]
        told = hashlib.sha256(answer.content + path.read_bytes())
        told.update(json.dumps(self.history()).encode())
        return champion.number, told.hexdigest()

    def history(self) -> list[dict[str, Any]]:
        lines = (self.home / "history.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def members(
    tmp_path: Path,
    make_project: Callable[..., Project],
    make_bundle: Callable[..., Path],
    registry_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Member]]:
    """Make projects on one ``ML_HOME``; their servers are stopped at the end."""
    folder = tmp_path / "ml"
    monkeypatch.setenv("ML_HOME", str(folder))
    monkeypatch.delenv("ML_APPROVAL_KEY", raising=False)
    made: list[Member] = []

    def make(name: str, port: int = 0, home: Home | None = None) -> Member:
        environments = {"production": {"port": port}}
        project = make_project(name, project=name, environments=environments)
        own = home or find_home(folder, Owner(name, name))
        made.append(Member(project, own, make_bundle, registry_database))
        return made[-1]

    yield make
    for one in made:
        one("stop")


def test_three_projects_share_one_ml_home(members: Callable[..., Member]) -> None:
    churn, fraud, keys = (members(name) for name in NAMES)
    assert keys.home.root.name == "_keys"

    for one in (churn, fraud, keys):
        one.deliver(1.0)
    before = [one.in_production() for one in (churn, fraud, keys)]
    assert [number for number, _ in before] == [1, 1, 1]

    fraud.deliver(2.0)
    assert fraud.in_production()[0] == 2
    assert [churn.in_production(), keys.in_production()] == [before[0], before[2]]

    assert fraud("rollback", "--reason", "alarms", "--by", "Bina") == 0
    assert fraud.in_production()[0] == 1
    assert [len(one.history()) for one in (churn, fraud, keys)] == [1, 3, 1]
    assert [churn.in_production(), keys.in_production()] == [before[0], before[2]]

    after = fraud.in_production()
    assert churn("stop") == 0
    assert churn("reconcile", "production") == 0
    assert churn.in_production()[0] == 1
    assert [fraud.in_production(), keys.in_production()] == [after, before[2]]


def test_status_tells_each_of_its_own(
    members: Callable[..., Member], capsys: pytest.CaptureFixture[str]
) -> None:
    churn, fraud = members("churn"), members("fraud")
    churn.deliver(1.0)
    capsys.readouterr()
    assert fraud("status", "--json") == 0
    assert [row["state"] for row in json.loads(capsys.readouterr().out)] == ["down"]
    assert churn("status", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["state"], row["version"]) == ("up", 1)


def test_a_port_of_another_project_is_refused_with_its_name(
    members: Callable[..., Member], capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    churn, fraud = members("churn", port), members("fraud", port)
    churn.deliver(1.0)
    before = churn.in_production()
    with pytest.raises(AssertionError):
        fraud.deliver(1.0)
    capsys.readouterr()
    assert fraud("promote") == 2
    told = capsys.readouterr().out
    assert f"port {port} is held by the server of project 'churn', environment production" in told
    assert "set environments.production.port to another" in told
    assert churn.in_production() == before
    assert not (fraud.home / "history.jsonl").exists()


def test_a_home_in_use_before_goes_on_where_it_is(
    members: Callable[..., Member], tmp_path: Path
) -> None:
    """``ML_HOME`` itself was the home: its server answers on, and is rolled back like any."""
    folder = tmp_path / "ml"
    churn = members("churn", home=Home(folder))
    churn.deliver(1.0)
    (folder / "home.json").unlink()  # which earlier versions did not write
    before = churn.in_production()
    fraud = members("fraud")
    fraud.deliver(1.0)
    assert fraud.home.root == folder / "fraud"
    assert churn.in_production() == before
    churn.deliver(2.0)
    assert churn("rollback", "--reason", "alarms") == 0
    assert churn.in_production()[0] == 1
    assert not (folder / "churn").exists()
    assert fraud.in_production()[0] == 1
