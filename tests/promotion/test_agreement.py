"""Registry, history and production have to say the same, or nothing is compared or promoted."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.promotion import production_history
from ml_pipeline.promotion.agreement import agreed_champion, contenders, describe_difference
from ml_pipeline.promotion.environment import Production, clear_stopped, mark_stopped
from ml_pipeline.promotion.rollback import rollback
from ml_pipeline.promotion.switch import SwitchResult
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CHAMPION

from tests.promotion.test_reconcile import reconcile_on

Delivery = Any


@pytest.fixture
def delivery(three: Delivery) -> Delivery:
    """Versions 1, 2 and 3 were promoted one after the other; version 4 is the challenger."""
    three.register("four", identity="d", weight=4.0)
    return three


def production(delivery: Delivery) -> Production:
    return Production(delivery.target, delivery.placement)


def rollback_to(delivery: Delivery, version: int) -> SwitchResult:
    return rollback(
        delivery.registry,
        [delivery.signer.public_key],
        production(delivery),
        to=version,
        by="Bina",
        reason="alarms",
        run_id=f"back-to-{version}",
    )


def alias_lost(delivery: Delivery) -> None:
    delivery.registry.aliases.set(CHAMPION, None)


def alias_moved_back(delivery: Delivery) -> None:
    delivery.registry.aliases.set(CHAMPION, delivery.registry.read().version(1))


def alias_moved_forward(delivery: Delivery) -> None:
    delivery.registry.aliases.set(CHAMPION, delivery.registry.read().version(4))


def version_deleted(delivery: Delivery) -> None:
    delivery.registry._session.client.delete_model_version(delivery.registry.name, "3")


def model_deleted(delivery: Delivery) -> None:
    delivery.registry._session.client.delete_registered_model(delivery.registry.name)
    delivery.register("again", identity="e", weight=5.0)


def other_registry(delivery: Delivery) -> None:
    """Another, nearly empty registry answers under the same address."""
    delivery.registry = Registry(None, "another", delivery.registry._home)
    delivery.register("again", identity="e", weight=5.0)


def history_lost(delivery: Delivery) -> None:
    (delivery.home / "history.jsonl").unlink()


def history_and_file_lost(delivery: Delivery) -> None:
    (delivery.home / "history.jsonl").unlink()
    (delivery.home / "production-model.yaml").unlink()


def history_cut(delivery: Delivery) -> None:
    path = delivery.home / "history.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def everything_forgotten_but_the_server(delivery: Delivery) -> None:
    other_registry(delivery)
    history_and_file_lost(delivery)


def another_version_answers(delivery: Delivery) -> None:
    delivery.target.running = replace(delivery.target.running, version=2, digest="e" * 64)


def nothing_answers(delivery: Delivery) -> None:
    delivery.target.running = None


@contextmanager
def leases_table(delivery: Delivery) -> Iterator[tuple[sqlite3.Connection, str | None]]:
    """Yield the registry's database and its run of leases: MLflow changes no parameter."""
    run = delivery.registry.read().leases_run
    with closing(sqlite3.connect(delivery.registry._home / "mlflow.db")) as connection:
        yield connection, run
        connection.commit()


def last_lease_lost(delivery: Delivery) -> None:
    with leases_table(delivery) as (connection, run):
        connection.execute("delete from params where run_uuid = ? and key like 'lease.3.%'", (run,))
        connection.execute("delete from tags where run_uuid = ? and key like 'lease.3.%'", (run,))


def last_lease_taken_back(delivery: Delivery) -> None:
    run = delivery.registry.read().leases_run
    delivery.registry._session.client.set_tag(run, "lease.3.ended", "taken back")


def last_lease_is_about_another(delivery: Delivery) -> None:
    for name, value in (("version", "2"), ("bundle", delivery.registry.read().version(2).digest)):
        with leases_table(delivery) as (connection, run):
            connection.execute(
                "update params set value = ? where run_uuid = ? and key = ?",
                (value, run, f"lease.3.{name}"),
            )


LEASES = [last_lease_lost, last_lease_taken_back, last_lease_is_about_another]

DIFFERENCES = [
    *((one, "its last change, [23], to version 2", "reconcile production") for one in LEASES),
    (alias_lost, "alias 'champion' is not set", "reconcile production"),
    (alias_moved_back, "names version 1 ", "reconcile production"),
    (alias_moved_forward, "names version 4 ", "reconcile production"),
    (version_deleted, "names version 3, which is gone|is not set", "from a backup.*--to V"),
    (model_deleted, "is not set", "from a backup"),
    (other_registry, "is not set", "from a backup"),
    (history_lost, "the history says nothing, production-model.yaml bundle", "take it over"),
    (history_and_file_lost, "the history says nothing, and", "take it over"),
    (history_cut, "the history says version 2 ", "take it over"),
    (everything_forgotten_but_the_server, "answers version 3 ", "stop production"),
    (another_version_answers, "production answers version 2 ", "reconcile production"),
    (nothing_answers, "production does not answer", "reconcile production.*stop production"),
]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"a": "1", "b": "1", "c": "1"}, ""),
        ({"a": None, "b": "1", "c": "1"}, "a differs from b and c"),
        ({"a": "1", "b": None, "c": "1"}, "b differs from a and c"),
        ({"a": "1", "b": "2", "c": "3"}, "a, b and c differ"),
        ({"a": "1", "b": "2"}, "a and b differ"),
    ],
)
def test_the_difference_comes_first_and_is_short(said: dict[str, str | None], told: str) -> None:
    assert describe_difference(said) == told


@pytest.mark.parametrize(
    ("lose", "told", "hint"), DIFFERENCES, ids=[case[0].__name__ for case in DIFFERENCES]
)
def test_a_difference_is_named_and_ends_it(
    delivery: Delivery, lose: Callable[[Delivery], None], told: str, hint: str
) -> None:
    lose(delivery)
    before = production_history.read_history(delivery.home)
    running = delivery.target.running
    with pytest.raises(EnvironmentFault, match=f"(?s)is unknown: .{{10,90}};.*{hint}") as caught:
        contenders(delivery.registry, production(delivery), delivery.home)
    assert re.search(told, str(caught.value))
    with pytest.raises(EnvironmentFault, match="is unknown"):
        delivery.promote()
    assert production_history.read_history(delivery.home) == before
    assert delivery.target.running == running


@pytest.mark.parametrize("lose", LEASES)
def test_reconcile_writes_a_lease_that_the_registry_lost(
    delivery: Delivery, lose: Callable[[Delivery], None]
) -> None:
    lose(delivery)
    done = reconcile_on(delivery, delivery.home / "production-model.yaml")
    assert (done.version.number, done.registry) == (3, "")
    found = contenders(delivery.registry, production(delivery), delivery.home)
    challenger, champion = found.challenger, found.champion
    assert champion is not None
    assert (challenger.number, champion.number) == (4, 3)


def test_a_version_that_the_registry_lost_is_said_with_a_way_out(delivery: Delivery) -> None:
    delivery.registry._session.client.delete_model_version("three", "2")
    back = rollback_to(delivery, 2)
    assert "has no version 2 of 'three' any more" in back.open
    with pytest.raises(EnvironmentFault, match=r"no version 2 .* any more.*rollback --to V"):
        delivery.promote()
    assert (
        "no version 2" in reconcile_on(delivery, delivery.home / "production-model.yaml").registry
    )
    assert rollback_to(delivery, 1).open == ""
    champion = agreed_champion(delivery.registry, production(delivery), delivery.home)
    assert champion is not None
    assert champion.number == 1


def test_the_champion_is_what_all_say(delivery: Delivery) -> None:
    champion = agreed_champion(delivery.registry, production(delivery), delivery.home)
    assert champion == delivery.registry.read().version(3)
    assert agreed_champion(delivery.registry, None, delivery.home) == champion


def test_no_champion_is_believed_where_nobody_knows_of_one(delivery: Delivery) -> None:
    delivery.registry = Registry(None, "new", delivery.registry._home)
    delivery.home = type(delivery.home)(delivery.home.root.with_name("new"))
    delivery.target.running = None
    assert agreed_champion(delivery.registry, production(delivery), delivery.home) is None


def test_production_that_was_stopped_on_purpose_need_not_answer(delivery: Delivery) -> None:
    delivery.target.running = None
    mark_stopped(delivery.home)
    champion = agreed_champion(delivery.registry, production(delivery), delivery.home)
    assert champion == delivery.registry.read().version(3)
    clear_stopped(delivery.home)
    with pytest.raises(EnvironmentFault, match="does not answer"):
        agreed_champion(delivery.registry, production(delivery), delivery.home)


def test_a_champion_that_is_to_be_promoted_again_need_not_answer(three: Delivery) -> None:
    three.target.running = None
    found = contenders(three.registry, production(three), three.home)
    challenger, champion = found.challenger, found.champion
    assert challenger == champion


SETTLED = [alias_lost, alias_moved_back, alias_moved_forward, another_version_answers]
SETTLED += [nothing_answers, history_lost]


@pytest.mark.parametrize("lose", SETTLED)
def test_reconcile_resolves_it(
    delivery: Delivery, lose: Callable[[Delivery], None], tmp_path: Any
) -> None:
    file = tmp_path / "production-model.yaml"
    file.write_bytes((delivery.home / "production-model.yaml").read_bytes())
    lose(delivery)
    assert reconcile_on(delivery, file).version.number == 3
    champion = agreed_champion(delivery.registry, production(delivery), delivery.home)
    assert champion == delivery.registry.read().version(3)
    assert production_history.read_history(delivery.home)[-1].version == 3
    assert reconcile_on(delivery, file).drift == ""


class KilledError(BaseException):
    """Ends the process, as far as the code that is tested can tell."""


POINTS = (
    "before alias",
    "within alias, lease acquired",
    "within alias, done",
    "before end",
    "after",
)


@pytest.mark.parametrize("last", POINTS)
def test_setting_the_alias_back_may_be_killed_anywhere(
    delivery: Delivery, tmp_path: Any, last: str
) -> None:
    file = tmp_path / "production-model.yaml"
    file.write_bytes((delivery.home / "production-model.yaml").read_bytes())
    met: list[str] = []

    def fault_point(point: str) -> None:
        met.append(point)
        if point.startswith(last):
            raise KilledError

    alias_moved_forward(delivery)
    with pytest.raises(KilledError):
        reconcile_on(delivery, file, fault_point=fault_point)
    assert met[-1].startswith(last)
    with pytest.raises(EnvironmentFault, match="is not finished: reconcile of version 3"):
        agreed_champion(delivery.registry, production(delivery), delivery.home)
    before = production_history.read_history(delivery.home)
    assert reconcile_on(delivery, file).registry == ""
    champion = agreed_champion(delivery.registry, production(delivery), delivery.home)
    assert champion == delivery.registry.read().version(3)
    assert production_history.read_history(delivery.home) == before
    assert delivery.registry.leases.read()[-1].ended == "done"
