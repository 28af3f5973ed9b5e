"""Killed at every point, and two at once: one champion, and production serves it."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from ml_pipeline.core.home import Home
from ml_pipeline.promotion import production_history
from ml_pipeline.promotion.environment import Production
from ml_pipeline.promotion.journal import open_journals
from ml_pipeline.promotion.recovery import recover
from ml_pipeline.registry.versions import Version

from tests.promotion.crash import Machine, kill_at, points, race

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Import once what every killed process needs."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["mlflow", "mlflow.store.tracking.sqlalchemy_store", "tests.promotion.crash", "onnxruntime"]
    )


@pytest.fixture
def machine(delivery: Any) -> Iterator[Machine]:
    made = Machine.of(delivery)
    delivery.target = made.production.target
    yield made
    made.production.target.stop(made.production.placement)


def approved(delivery: Any, number: int) -> Version:
    """Register, gate and approve a version that differs from all others."""
    bundle = delivery.make_bundle(f"bundle-{number}", weight=1.0 + number / 8)
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"identity": f"{number:064x}"}))
    version: Version = delivery.registry.register(bundle).version
    delivery.gate(version)
    delivery.approve(version)
    return version


def answering(production: Production) -> int:
    """Return the version that answers a request."""
    serving = production.status()
    assert serving is not None
    answer = httpx.post(f"{serving.url}/predict", json={"features": [1.0, "north"]}, timeout=60)
    assert answer.status_code == 200
    number: int = answer.json()["model_version"]
    return number


def assert_agreed(machine: Machine, wanted: Version | None) -> None:
    """Registry, server, file, history, journal and leases say the same."""
    registry, home = machine.registry, Home(machine.home)
    assert registry.read().champion == wanted
    assert None not in [lease.ended for lease in registry.leases.read()]
    assert not open_journals(home)
    if wanted is None:
        assert machine.production.status() is None
        assert not production_history.read_history(home)
        return
    assert answering(machine.production) == wanted.number
    values = yaml.safe_load((home / "production-model.yaml").read_text())
    assert values["digests"]["bundle"] == wanted.digest
    history = production_history.read_history(home)
    assert history[-1].bundle == wanted.digest
    following = [(one.bundle, one.run_id) for one in history]
    assert all(one != other for one, other in pairwise(following))
    assert servers(machine) == 1


def servers(machine: Machine) -> int:
    """Count the server processes of the home."""
    found = 0
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if "ml_pipeline.serving" in words and any(str(machine.home) in word for word in words):
            found += process.info["status"] != psutil.STATUS_ZOMBIE
    return found


def test_killed_at_every_point_it_is_finished_or_taken_back(
    delivery: Any, machine: Machine
) -> None:
    former = approved(delivery, 1)
    assert machine.promote().changed
    newest = approved(delivery, 2)
    met = points(machine)
    assert met[-1] == "after publish"
    assert_agreed(machine, newest)
    numbers = iter(range(3, 50))
    former, newest = newest, approved(delivery, next(numbers))
    ended = []
    for point in met:
        kill_at(machine, point)
        champion = machine.registry.read().champion
        assert champion in (former, newest), point
        assert answering(machine.production) in (former.number, newest.number), point
        (journal,) = open_journals(Home(machine.home))
        assert journal.record.version == newest.number, point
        (told,) = recovered(machine)
        ended.append(told.partition(":")[0])
        if champion == former:
            assert ended[-1] == "taken back", point
            assert_agreed(machine, former)
        else:
            assert ended[-1] == "finished", point
            assert_agreed(machine, newest)
            former, newest = newest, approved(delivery, next(numbers))
    moved = met.index("within alias, done and not written down")
    assert ended == ["taken back"] * moved + ["finished"] * (len(met) - moved)
    kill_at(machine, "before check")
    done = machine.promote()
    assert done.changed
    assert done.recovered[0].startswith("taken back")
    assert_agreed(machine, newest)


def test_the_first_promotion_killed_leaves_nothing_or_the_champion(
    delivery: Any, machine: Machine
) -> None:
    version = approved(delivery, 1)
    for point in ("within lease, acquired", "within deploy, server started", "before alias"):
        kill_at(machine, point)
        assert machine.registry.read().champion is None
        assert recovered(machine)[0].startswith("taken back: promotion of version 1 by Asha")
        assert_agreed(machine, None)
        assert servers(machine) == 0, point
    kill_at(machine, "within alias, done and not written down")
    assert machine.registry.read().champion == version
    assert recovered(machine)[0].startswith("finished: promotion of version 1 by Asha")
    assert_agreed(machine, version)
    assert recovered(machine) == ()


def test_a_rollback_that_was_killed_is_finished(delivery: Any, machine: Machine) -> None:
    first = approved(delivery, 1)
    machine.promote()
    newest = approved(delivery, 2)
    machine.promote()
    met: list[str] = []
    machine.rollback(1, met.append)
    assert_agreed(machine, first)
    for number, point in enumerate(met[:-1:2], 3):
        newest = approved(delivery, number)
        machine.promote()
        kill_at(machine, point, 1)
        assert answering(machine.production) in (1, newest.number), point
        (told,) = recovered(machine)
        assert told.startswith("finished: rollback of version 1 by Bina"), point
        assert_agreed(machine, first)


def recovered(machine: Machine) -> tuple[str, ...]:
    return recover(
        machine.registry, machine.keys, machine.production, None, lambda what, share: None
    )


def test_of_two_machines_one_promotes_and_the_other_is_told_who(
    delivery: Any, machine: Machine, tmp_path: Path
) -> None:
    version = approved(delivery, 1)
    other = replace(machine, home=tmp_path / "other")
    try:
        winner = race(machine, other)
        assert_agreed(winner, version)
    finally:
        other.production.target.stop(other.production.placement)
