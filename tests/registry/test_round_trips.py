"""How many requests each command sends to MLflow, counted by a proxy in front of a server.

``reads`` are the requests that list the model's versions: one reading of the registry has one. What
MLflow's client requests once per process, what the server can do, is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ml_pipeline import config
from ml_pipeline.approval import policy as policies
from ml_pipeline.config import Project
from ml_pipeline.core import report, workdir
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, StageReport, Verdict
from ml_pipeline.gate.record import record
from ml_pipeline.promotion.status import status
from ml_pipeline.registry.records import GATE_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.stages import runner
from ml_pipeline.stages.context import Context
from ml_pipeline.targets.released_bundles import release

from tests.champions import make_champion
from tests.fault_proxy import FaultProxy, Request, fault_proxy
from tests.mlflow_server import mlflow_server
from tests.promotion.conftest import Target
from tests.stages import test_gate

pytestmark = pytest.mark.slow

CALLERS_OF_TARGETS = (
    "ml_pipeline.stages.promote",
    "ml_pipeline.stages.reconcile",
    "ml_pipeline.stages.rollback",
    "ml_pipeline.stages.watch",
    "ml_pipeline.promotion.agreement",
    "ml_pipeline.promotion.status",
)


@dataclass(frozen=True)
class Count:
    """The requests of one command."""

    requests: list[Request]

    def of(self, path: str) -> int:
        return sum(f"/{path}" in request.path for request in self.requests)

    @property
    def all(self) -> int:
        return len(self.requests)

    @property
    def reads(self) -> int:
        return self.of("model-versions/search")

    @property
    def bundle(self) -> int:
        return self.of("artifacts/bundle/")


def count(proxy: FaultProxy, command: Callable[[], object]) -> Count:
    proxy.heals()
    command()
    return Count([one for one in proxy.seen if "server-info" not in one.path])


@pytest.fixture
def proxy(tmp_path: Path, registry_database: Path) -> Iterator[FaultProxy]:
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "server.db").write_bytes(registry_database.read_bytes())
    with mlflow_server(folder, "sqlite:///server.db") as url, fault_proxy(url) as made:
        yield made


class Commands:
    """The stages of a project whose registry is behind a proxy; its servers are doubles."""

    def __init__(
        self,
        project: Project,
        proxy: FaultProxy,
        make_context: Callable[..., Context],
        make_bundle: Callable[..., Path],
    ) -> None:
        self.project, self.proxy = project, proxy
        self.make_context, self.make_bundle = make_context, make_bundle
        self.home = Home(project.root / ".ml")

    def run(
        self, stage: str, environment: str | None = None, *, exit_code: int = 0, **flags: object
    ) -> Count:
        context = self.make_context(self.project, stage, environment, **flags)
        results = []
        counted = count(self.proxy, lambda: results.append(runner.execute(context)))
        assert results[0].exit_code == exit_code, results[0].report.summary
        return counted

    def register(self, identity: str, weight: float) -> Count:
        context = self.make_context(self.project, "register")
        context.workdir.make()
        folder = context.workdir / "bundle"
        folder.rename(folder.with_name(f"before-{identity}"))
        self.make_bundle("project/build/ml/bundle", identity=identity, weight=weight)
        now = datetime.now(UTC)
        packaged = StageReport(
            stage="package",
            verdict=Verdict.PASS,
            summary="packaged",
            outputs={"bundle": workdir.digest(folder)},
            run_id="test-run",
            started=now,
            finished=now,
        )
        for stage in ("validate-data", "train", "package"):
            report.write(packaged.model_copy(update={"stage": stage}), context.workdir)
        return self.run("register")

    def gate(self) -> None:
        """Attach the record of a gate that passed the challenger."""
        registry = Registry.of(self.project, self.home)
        state = registry.read()
        assert state.challenger is not None
        content = record(
            [Check(name="better", verdict=Verdict.PASS)],
            {},
            summary="better",
            challenger=state.challenger.digest,
            champion=None if state.champion is None else state.champion.digest,
            policy=policies.load(None, self.project.config.policy).digest,
        )
        registry.records.attach(state.challenger, GATE_RECORD, content)

    def deliver(self, identity: str, weight: float) -> None:
        self.register(identity, weight)
        self.gate()
        self.run("approve", by="Asha", reason="better")
        self.run("promote")


@pytest.fixture
def commands(
    proxy: FaultProxy,
    make_project: Callable[..., Project],
    make_context: Callable[..., Context],
    make_bundle: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Commands:
    monkeypatch.delenv("ML_APPROVAL_KEY", raising=False)
    target = Target()
    for module in CALLERS_OF_TARGETS:
        monkeypatch.setattr(f"{module}.load_target", lambda _: target)
    project = make_project(
        environments={"production": {"port": 0}}, registry={"uri": proxy.url}, watch={"minutes": 5}
    )
    return Commands(project, proxy, make_context, make_bundle)


def test_each_command_reads_the_registry_once(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.deliver("a", 1.0)

    registration = commands.register("b", 2.0)
    assert (registration.all, registration.of("artifacts/model/")) == (28, 14)
    assert registration.reads == 2, "once more to see whether another machine was faster"

    commands.gate()
    approval = commands.run("approve", by="Asha", reason="better")
    assert (approval.all, approval.reads) == (9, 1)

    promotion = commands.run("promote")
    assert (promotion.all, promotion.reads, promotion.bundle) == (23, 1, 7)
    assert promotion.of("runs/log-batch") == promotion.of("runs/set-tag") == 1

    shown = count(commands.proxy, lambda: status(commands.project, commands.home))
    assert (shown.all, shown.reads) == (5, 1)

    assert commands.run("reconcile", "production").all == 3

    monkeypatch.setattr("ml_pipeline.online.metrics_scraper.Servers.scrape", lambda _: True)
    assert commands.run("watch", judge=True, exit_code=4).all == 0

    back = commands.run("rollback", "production", reason="alarms")
    assert (back.all, back.reads, back.bundle) == (8, 1, 0)


def test_a_bundle_that_the_home_has_released_is_not_downloaded(commands: Commands) -> None:
    commands.deliver("a", 1.0)
    commands.register("b", 2.0)
    commands.gate()
    commands.run("approve", by="Asha", reason="better")
    release(commands.project.root / "build/ml/bundle", commands.home)
    promotion = commands.run("promote")
    assert (promotion.all, promotion.bundle) == (14, 0)


def test_a_released_bundle_that_was_changed_is_downloaded_again(commands: Commands) -> None:
    commands.deliver("a", 1.0)
    commands.register("b", 2.0)
    commands.gate()
    commands.run("approve", by="Asha", reason="better")
    bundle = release(commands.project.root / "build/ml/bundle", commands.home)
    (bundle.path / "model.onnx").write_bytes(b"another model")
    promotion = commands.run("promote")
    assert promotion.bundle == 7
    assert workdir.digest(bundle.path / "manifest.json") == bundle.digest


def test_the_gate_reads_the_registry_once_and_predicts_with_the_released_champion(
    tmp_path: Path, proxy: FaultProxy
) -> None:
    delivery = test_gate.Delivery(tmp_path / "project")
    home = Home(delivery.root / ".ml")
    sections = {"registry": {"uri": proxy.url}}
    delivery.deliver(**sections)
    project = config.load(delivery.root, environment={})
    registry = Registry.of(project, home)
    champion = registry.read().challenger
    assert champion is not None
    release(delivery.root / "build/ml/bundle", home)
    make_champion(registry, home, champion)
    delivery.deliver(**sections, train={"params": {"max_depth": 4}})
    results = []
    gate = count(proxy, lambda: results.append(delivery.gate()))
    assert results[0].report.metrics["champion_version"] == 1
    assert results[0].report.metrics["primary"]["test"]["n"] > 0
    assert (gate.all, gate.reads, gate.bundle) == (9, 1, 1)
