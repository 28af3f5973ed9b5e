"""A registry that was restored from a backup, which knows less than the history."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ml_pipeline.config import GitopsSection
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home
from ml_pipeline.promotion import production_history
from ml_pipeline.promotion.agreement import agreed_champion
from ml_pipeline.promotion.desired_source import read_desired
from ml_pipeline.promotion.environment import Production
from ml_pipeline.promotion.journal import open_journals
from ml_pipeline.promotion.lease_history import last_done
from ml_pipeline.promotion.reconcile import Reconciled, reconcile_production
from ml_pipeline.promotion.restore import restore
from ml_pipeline.promotion.rollback import rollback

Delivery = Any


def reconciled(delivery: Delivery) -> Reconciled:
    """Run ``reconcile production`` without ``--file``."""
    return reconcile_production(
        delivery.registry,
        delivery.policy,
        [delivery.signer.public_key],
        production(delivery),
        lambda snapshot: read_desired(snapshot, delivery.home, GitopsSection(), None),
        by="timer",
        reason="as it was",
        run_id="reconcile-1",
        progress=lambda what, share: None,
    )


def production(delivery: Delivery) -> Production:
    return Production(delivery.target, delivery.placement)


def back_to(delivery: Delivery, version: int, run_id: str = "back") -> None:
    rollback(
        delivery.registry,
        [delivery.signer.public_key],
        production(delivery),
        to=version,
        by="Bina",
        reason="alarms",
        run_id=run_id,
    )


def rolled_back(delivery: Delivery) -> int:
    back_to(delivery, 1)
    return 1


def promoted(delivery: Delivery) -> int:
    """Version 4 is registered before the backup and promoted after it."""
    delivery.gate(four := delivery.registry.read().version(4))
    delivery.approve(four)
    delivery.promote()
    return 4


def rolled_back_and_promoted_again(delivery: Delivery) -> int:
    back_to(delivery, 2, "first")
    return promoted(delivery)


@pytest.fixture
def delivery(three: Delivery) -> Delivery:
    three.register("four", identity="d", weight=4.0)
    return three


@pytest.mark.parametrize("journals", ["kept", "lost"])
@pytest.mark.parametrize("since", [rolled_back, promoted, rolled_back_and_promoted_again])
def test_reconcile_sets_the_registry_to_what_history_and_production_say(
    delivery: Delivery, since: Callable[[Delivery], int], journals: str, tmp_path: Path
) -> None:
    database = delivery.registry._home / "mlflow.db"
    shutil.copyfile(database, tmp_path / "backup")
    number = since(delivery)
    shutil.copyfile(tmp_path / "backup", database)
    if journals == "lost":
        shutil.rmtree(delivery.home / "journal")
    before = delivery.state() | {"champion": number}
    with pytest.raises(EnvironmentFault, match="sets the alias to it") as told:
        agreed_champion(delivery.registry, production(delivery), delivery.home)
    assert "does not say" not in str(told.value)

    done = reconciled(delivery)

    assert (done.version.number, done.drift, done.registry) == (number, "", "")
    assert done.changed == (
        f"the registry's alias 'champion' named version 3 and names version {number} again",
    )
    assert delivery.state() == before, "production, its file and the history are as they were"
    last = last_done(delivery.registry.leases.read())
    assert last is not None
    assert last.subject is not None
    assert (last.subject.kind, last.subject.version) == ("reconcile", number)
    champion = agreed_champion(delivery.registry, production(delivery), delivery.home)
    assert champion is not None
    assert reconciled(delivery).changed == ()


def test_a_backup_from_after_such_a_reconcile_is_told_from_a_change_elsewhere(
    delivery: Delivery, tmp_path: Path
) -> None:
    """Its last lease is of a reconcile, which has no line in the history."""
    database = delivery.registry._home / "mlflow.db"
    delivery.registry.aliases.set("champion", delivery.registry.read().version(2))
    reconciled(delivery)
    shutil.copyfile(database, tmp_path / "backup")
    back_to(delivery, 1)
    shutil.copyfile(tmp_path / "backup", database)
    assert reconciled(delivery).version.number == 1


def test_a_version_promoted_again_stays_though_the_backup_says_it_was_rolled_back(
    delivery: Delivery, tmp_path: Path
) -> None:
    database = delivery.registry._home / "mlflow.db"
    back_to(delivery, 2)
    three = delivery.registry.read().version(3)
    delivery.registry.aliases.set("challenger", three)
    shutil.copyfile(database, tmp_path / "backup")
    delivery.gate(three)
    delivery.approve(three, reason="after all")
    delivery.promote()
    shutil.copyfile(tmp_path / "backup", database)
    assert reconciled(delivery).version.number == 3
    assert delivery.registry.read().champion == three


def test_a_change_of_another_home_is_still_taken_over(delivery: Delivery, tmp_path: Path) -> None:
    here, delivery.home = delivery.home, Home(tmp_path / "other")
    shutil.copytree(here.root, delivery.home.root)
    back_to(delivery, 1, "elsewhere")
    delivery.home = here
    assert reconciled(delivery).version.number == 1
    assert [entry.version for entry in production_history.read_history(here)][-2:] == [3, 1]


def test_rollback_tells_such_a_registry_too(delivery: Delivery, tmp_path: Path) -> None:
    database = delivery.registry._home / "mlflow.db"
    shutil.copyfile(database, tmp_path / "backup")
    back_to(delivery, 2)
    shutil.copyfile(tmp_path / "backup", database)
    back_to(delivery, 1, "further")
    assert delivery.registry.read().champion == delivery.registry.read().version(1)
    assert not open_journals(delivery.home)


def test_a_version_that_the_backup_lacks_is_registered_again(
    three: Delivery, tmp_path: Path
) -> None:
    database = three.registry._home / "mlflow.db"
    shutil.copyfile(database, tmp_path / "backup")
    three.deliver("four", identity="d", weight=4.0)
    shutil.copyfile(tmp_path / "backup", database)
    with pytest.raises(EnvironmentFault, match="--restore-registry"):
        agreed_champion(three.registry, production(three), three.home)
    assert "--restore-registry" in reconciled(three).registry
    assert three.target.running.version == 4
    keys = [three.signer.public_key]
    told = restore(three.registry, keys, three.home, lambda what, share: None)
    assert told == ("version 4 was registered again",)
    assert reconciled(three).registry == ""
    assert three.registry.read().champion == three.registry.read().version(4)
