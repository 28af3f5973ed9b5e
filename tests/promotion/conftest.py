"""A delivery up to its approval, and a target that serves nothing but remembers."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
from ml_pipeline.approval import subject as approval_subject
from ml_pipeline.approval.policy import Policy
from ml_pipeline.approval.statement import Approval, sign
from ml_pipeline.config import EnvironmentSection, ServingSection
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.gate.record import record
from ml_pipeline.promotion.environment import Production
from ml_pipeline.promotion.promote import Promotion, promote
from ml_pipeline.promotion.rollback import rollback
from ml_pipeline.promotion.switch import SwitchResult
from ml_pipeline.registry.records import APPROVAL_RECORD, GATE_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version
from ml_pipeline.targets.base import Deployment, Placement
from ml_pipeline.targets.released_bundles import release
from securesystemslib.signer import CryptoSigner

NUMBERS = itertools.count(1)
WriteBundle = Callable[..., Path]


@dataclass
class Handover:
    target: Target
    deployment: Deployment
    former: Deployment | None
    changed: bool
    committed: bool = False

    def commit(self) -> None:
        if self.target.commit_fails is not None:
            raise self.target.commit_fails
        self.committed = True

    def revert(self) -> None:
        self.target.running = self.former

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self.committed:
            self.revert()


@dataclass
class Target:
    running: Deployment | None = None
    healthy: bool = True
    commit_fails: BaseException | None = None
    wrong_bundle: bool = False
    url: str = "http://here"
    started: list[int | None] = field(default_factory=list)

    def handover(self, placement: Placement, bundle: Path, version: int | None) -> Handover:
        if not self.healthy:
            raise Refused("the new server is not ready")
        digest = "0" * 64 if self.wrong_bundle else release(bundle, placement.home).digest
        former, self.running = self.running, Deployment(self.url, version, digest, 1, bundle)
        self.started.append(version)
        changed = former is None or former.digest != digest
        return Handover(self, self.running, former, changed)

    def status(self, placement: Placement) -> Deployment | None:
        return self.running

    def stop(self, placement: Placement) -> bool:
        stopped, self.running = self.running is not None, None
        return stopped


@dataclass
class Delivery:
    """One model's way to production; every part of it can be bent by a test."""

    home: Home
    registry: Registry
    make_bundle: Callable[..., Path]
    policy: Policy = field(default_factory=Policy)
    target: Target = field(default_factory=Target)
    signer: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)

    @property
    def placement(self) -> Placement:
        return Placement("production", EnvironmentSection(port=0), ServingSection(), self.home)

    def register(self, name: str, cause: str = "", **bundle: Any) -> Version:
        tags = {"cause": cause} if cause else {}
        return self.registry.register(self.make_bundle(name, **bundle), tags).version

    def gate(self, version: Version, verdict: Verdict = Verdict.PASS) -> None:
        champion = self.registry.read().champion
        check = Check(name="better", verdict=verdict, observed="+0.02 [+0.01, +0.03]")
        content = record(
            [check],
            {},
            summary="better by 0.02",
            challenger=version.digest,
            champion=None if champion is None else champion.digest,
            policy=self.policy.digest,
        )
        self.registry.records.attach(version, GATE_RECORD, content)

    def approve(self, version: Version, **changes: Any) -> None:
        state = self.registry.read()
        version = state.version(version.number)
        facts = approval_subject.gather_facts(self.registry, version, state.champion, self.policy)
        values: dict[str, Any] = {
            "model": version.name,
            "version": version.number,
            "bundle": version.digest,
            "decision": "approve",
            "by": "Asha",
            "reason": "better",
            "at": datetime(2026, 1, 2, tzinfo=UTC),
            "method": "prompt",
            "gate": facts.gate_digest,
            "policy": self.policy.digest,
            "champion": facts.champion_digest,
            "run_id": "run-1",
        }
        content = sign(Approval(**values | changes), self.signer)
        self.registry.records.attach(version, APPROVAL_RECORD, content)

    def promote(self, profile: Path | None = None, expected: int | None = None) -> Promotion:
        return promote(
            self.registry,
            self.policy,
            [self.signer.public_key],
            Production(self.target, self.placement),
            profile=profile,
            run_id="run-1",
            progress=lambda what, share: None,
            expected=expected,
        )

    def rollback(
        self, to: int | None = None, reason: str = "alarms", run_id: str = "back"
    ) -> SwitchResult:
        """Roll production back, by default to the version before the present one."""
        return rollback(
            self.registry,
            [self.signer.public_key],
            Production(self.target, self.placement),
            to=to,
            by="Bina",
            reason=reason,
            run_id=run_id,
        )

    def deliver(self, name: str, **bundle: Any) -> Version:
        version = self.register(name, **bundle)
        self.gate(version)
        self.approve(version)
        self.promote()
        return version

    def state(self) -> dict[str, Any]:
        """Everything that a promotion changes."""
        champion = self.registry.read().champion
        files = ("production-model.yaml", "history.jsonl", "accepted/profile.json")
        return {
            "champion": champion and champion.number,
            "running": self.target.running and self.target.running.digest,
            **{
                name: (self.home / name).read_bytes() if (self.home / name).exists() else None
                for name in files
            },
        }


@pytest.fixture(scope="session")
def registry_home(tmp_path_factory: pytest.TempPathFactory, registry_database: Path) -> Home:
    """One registry for all deliveries, each with a model of its own: MLflow warms up once."""
    home = Home(tmp_path_factory.mktemp("deliveries"))
    (home / "mlflow.db").write_bytes(registry_database.read_bytes())
    return home


@pytest.fixture(scope="session")
def template(
    tmp_path_factory: pytest.TempPathFactory, registry_database: Path, write_bundle: WriteBundle
) -> Delivery:
    """Three versions promoted one after the other, to be copied: making them takes seconds."""
    folder = tmp_path_factory.mktemp("three")
    home, registry_home = Home(folder / "home"), Home(folder / "registry")
    home.make()
    registry_home.make()
    (registry_home / "mlflow.db").write_bytes(registry_database.read_bytes())
    bundles = itertools.count(1)

    def make(name: str, **about: Any) -> Path:
        return write_bundle(folder / f"{name}-{next(bundles)}", **about)

    made = Delivery(home, Registry(None, "three", registry_home), make)
    for name, identity, weight in (("one", "a", 1.0), ("two", "b", 2.0), ("three", "c", 3.0)):
        made.deliver(name, identity=identity, weight=weight)
    return made


@pytest.fixture
def three(template: Delivery, tmp_path: Path, make_bundle: Callable[..., Path]) -> Delivery:
    """A copy of the three promotions; the artefacts of the registry are shared."""
    home, registry_home = Home(tmp_path / "home"), Home(tmp_path / "registry")
    shutil.copytree(template.home.root, home.root)
    registry_home.make()
    shutil.copyfile(template.registry._home / "mlflow.db", registry_home / "mlflow.db")
    return Delivery(
        home,
        Registry(None, "three", registry_home),
        make_bundle,
        target=Target(template.target.running),
        signer=template.signer,
    )


@pytest.fixture
def delivery(tmp_path: Path, registry_home: Home, make_bundle: Callable[..., Path]) -> Delivery:
    home = Home(tmp_path / "home")
    home.make()
    registry = Registry(None, f"model-{next(NUMBERS)}", registry_home)
    return Delivery(home, registry, make_bundle)
