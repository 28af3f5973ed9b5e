"""A registry that was lost without a backup gets back what the home released."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.promotion import desired_state, production_history
from ml_pipeline.promotion.agreement import agreed_champion
from ml_pipeline.promotion.environment import Production
from ml_pipeline.promotion.restore import restore
from ml_pipeline.promotion.rollback import rollback
from ml_pipeline.registry.records import APPROVAL_RECORD, Records
from ml_pipeline.registry.registry import Registry

from tests.promotion.test_reconcile import reconcile_on
from tests.records import newest_record

Delivery = Any


@pytest.fixture
def delivery(three: Delivery, tmp_path: Path, registry_database: Path) -> Delivery:
    """Three versions in the history, and another, empty registry."""
    empty = Home(tmp_path / "empty")
    empty.make()
    (empty / "mlflow.db").write_bytes(registry_database.read_bytes())
    three.registry = Registry(None, "three", empty)
    return three


def again(delivery: Delivery) -> tuple[str, ...]:
    keys = [delivery.signer.public_key]
    return restore(delivery.registry, keys, delivery.home, lambda what, share: None)


def production(delivery: Delivery) -> Production:
    return Production(delivery.target, delivery.placement)


def test_versions_get_their_numbers_bundles_and_approvals_back(
    delivery: Delivery, tmp_path: Path
) -> None:
    history = production_history.read_history(delivery.home)
    shutil.rmtree(delivery.home / "released" / history[0].bundle)
    assert again(delivery) == (
        "version 1 is not kept and was not registered again",
        "version 2 was registered again",
        "version 3 was registered again",
    )
    held = {version.number: version.digest for version in delivery.registry.read().versions}
    assert held == {entry.version: entry.bundle for entry in history[1:]}
    file = delivery.home / "production-model.yaml"
    told = reconcile_on(delivery, file)
    assert told.changed == (
        "the registry's alias 'champion' named no version and names version 3 again",
    )
    champion = agreed_champion(delivery.registry, production(delivery), delivery.home)
    assert champion is not None
    assert champion.number == 3
    assert newest_record(delivery.registry, champion, APPROVAL_RECORD) is not None
    assert again(delivery) == ("version 1 is not kept and was not registered again",), (
        "the same again registers nothing"
    )
    assert delivery.deliver("four", identity="d", weight=4.0).number == 4
    rollback(
        delivery.registry,
        [delivery.signer.public_key],
        production(delivery),
        to=2,
        by="Bina",
        reason="alarms",
        run_id="back",
    )
    assert desired_state.read(file).model_version == 2
    assert yaml.safe_load(file.read_text())["former"]["model_version"] == 4


def test_a_database_that_is_gone_is_made_again(delivery: Delivery) -> None:
    home = delivery.registry._home
    (home / "mlflow.db").unlink()
    shutil.copy(delivery.home / "history.jsonl", home / "history.jsonl")
    with pytest.raises(EnvironmentFault, match=r"is gone, .* --restore-registry"):
        delivery.registry.read()
    assert again(delivery)[-1] == "version 3 was registered again"


def test_other_versions_under_these_numbers_are_not_replaced(delivery: Delivery) -> None:
    delivery.register("other", identity="e", weight=9.0)
    with pytest.raises(Refused, match=r"version 1 of the registry is bundle .*new home"):
        again(delivery)
    assert len(delivery.registry.read().versions) == 1


def test_a_number_that_was_used_is_not_given_again(delivery: Delivery) -> None:
    for number, identity in enumerate("4567"):
        made = delivery.register(f"other{number}", identity=identity, weight=9.0 + number)
        delivery.registry._session.client.delete_model_version("three", str(made.number))
    with pytest.raises(Refused, match="number"):
        again(delivery)
    assert list(delivery.registry.read().versions) == []


@pytest.mark.parametrize("lost", ["released", "approvals"])
def test_without_bundle_and_approval_of_the_last_nothing_is_done(
    delivery: Delivery, lost: str
) -> None:
    (entry,) = production_history.read_history(delivery.home)[-1:]
    path = next((delivery.home / lost).glob(f"{entry.bundle}*"))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    what = "bundle" if lost == "released" else "approval"
    (delivery.registry._home / "mlflow.db").unlink()
    with pytest.raises(Refused, match=f"does not keep the {what} of version 3"):
        again(delivery)
    assert not (delivery.registry._home / "mlflow.db").exists()


def test_an_earlier_approval_of_a_key_that_is_not_trusted_any_more_leaves_its_number_unused(
    delivery: Delivery,
) -> None:
    first = production_history.read_history(delivery.home)[0]
    path = delivery.home / f"approvals/{first.bundle}.dsse.json"
    values = json.loads(path.read_bytes())
    values["signatures"][0]["sig"] = "AAAA" + values["signatures"][0]["sig"][4:]
    path.write_text(json.dumps(values))
    assert again(delivery)[0] == "version 1 is not kept and was not registered again"
    assert [version.number for version in delivery.registry.read().versions] == [2, 3]


def test_one_that_was_killed_is_completed(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Records, "attach", _killed)
        with pytest.raises(KeyboardInterrupt):
            again(delivery)
    assert len(again(delivery)) == 3
    for version in delivery.registry.read().versions:
        assert newest_record(delivery.registry, version, APPROVAL_RECORD) is not None


def _killed(*given: object) -> str:
    raise KeyboardInterrupt


def test_an_approval_that_no_trusted_key_signed_counts_for_nothing(delivery: Delivery) -> None:
    for path in (delivery.home / "approvals").iterdir():
        values = json.loads(path.read_bytes())
        values["signatures"][0]["sig"] = "AAAA" + values["signatures"][0]["sig"][4:]
        path.write_text(json.dumps(values))
    with pytest.raises(Refused):
        again(delivery)
    assert list(delivery.registry.read().versions) == []


def test_without_a_history_there_is_nothing_to_go_by(delivery: Delivery, tmp_path: Path) -> None:
    delivery.home = Home(tmp_path / "none")
    delivery.home.make()
    with pytest.raises(UsageError, match="names no version"):
        again(delivery)


def test_the_number_of_a_lost_version_that_was_never_in_production_stays_unused(
    three: Delivery, tmp_path: Path, registry_database: Path
) -> None:
    """Version 4 was registered, and never promoted."""
    assert three.register("staged", identity="d", weight=4.0).number == 4
    made_again = Home(tmp_path / "again")
    made_again.make()
    (made_again / "mlflow.db").write_bytes(registry_database.read_bytes())
    shutil.copy(three.registry._home / "version-numbers.json", made_again.root)
    three.registry = Registry(None, "three", made_again)
    assert len(again(three)) == 3
    assert again(three) == (), "the same again registers nothing"
    five = three.register("other", identity="e", weight=5.0)
    assert five.number == 5
    assert three.register("next", identity="f", weight=6.0).number == 6
    assert [one.number for one in three.registry.read().versions] == [1, 2, 3, 5, 6]


def test_so_does_that_of_a_version_that_a_backup_of_the_registry_lacks(
    three: Delivery, tmp_path: Path
) -> None:
    database = three.registry._home / "mlflow.db"
    shutil.copyfile(database, tmp_path / "backup")
    three.register("staged", identity="d", weight=4.0)
    shutil.copyfile(tmp_path / "backup", database)
    assert three.register("other", identity="e", weight=5.0).number == 5


def test_a_record_of_numbers_that_is_broken_is_named(three: Delivery) -> None:
    (three.registry._home / "version-numbers.json").write_text("[4")
    with pytest.raises(EnvironmentFault, match=r"cannot read .*version-numbers\.json"):
        three.register("other", identity="e", weight=5.0)
