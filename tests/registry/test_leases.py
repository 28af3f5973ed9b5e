from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.registry.leases import Lease, Subject
from ml_pipeline.registry.registry import Registry

from tests.registry.race import check, race

ONE, OTHER = "1" * 32, "2" * 32


@pytest.fixture
def registry(tmp_path: Path, registry_database: Path) -> Registry:
    (tmp_path / "mlflow.db").write_bytes(registry_database.read_bytes())
    return Registry(None, "small", Home(tmp_path))


def test_the_first_attempt_wins_and_the_others_learn_who_holds_the_lease(
    registry: Registry,
) -> None:
    assert registry.leases.read() == ()
    assert registry.leases.acquire(1, ONE, by="asha", run_id="r1")
    late = registry.leases.acquire(1, OTHER, by="bela", run_id="r2")
    assert not late
    assert [late.holder] == [lease.holder for lease in registry.leases.read()]
    assert (late.holder.by, late.holder.run_id) == ("asha", "r1")
    assert late.holder.host == socket.gethostname()
    assert 0 <= (datetime.now(UTC) - late.holder.at).total_seconds() < 60
    assert str(late.holder).startswith(f"asha on {socket.gethostname()}, run r1, since 2")


def test_numbers_and_models_are_independent(registry: Registry, tmp_path: Path) -> None:
    assert registry.leases.acquire(1, ONE, by="asha", run_id="r1")
    assert registry.leases.acquire(2, OTHER, by="bela", run_id="r2")
    other = Registry(None, "small.1", Home(tmp_path))
    assert other.leases.acquire(1, OTHER, by="bela", run_id="r2")


def test_a_lease_is_recognised_by_its_token(registry: Registry) -> None:
    first = registry.leases.acquire(1, ONE, by="asha", run_id="r1")
    again = registry.leases.acquire(1, ONE, by="asha", run_id="r7")
    assert again
    assert again.holder.at == first.holder.at


def test_a_lease_records_its_change_and_outcome(registry: Registry, tmp_path: Path) -> None:
    subject = Subject("promotion", 7, "b" * 64, "a" * 64)
    registry.leases.acquire(1, ONE, by="asha", run_id="r1", subject=subject)
    other = Registry(None, "small", Home(tmp_path))
    other.leases.release(1, OTHER, "taken back")
    assert [lease.ended for lease in other.leases.read()] == [None], "it is not the other's"
    other.leases.release(1, ONE, "done")
    (lease,) = registry.leases.read()
    assert (lease.subject, lease.ended) == (subject, "done")


def test_leases_are_neither_models_nor_versions(registry: Registry) -> None:
    for number in range(1, 4):
        registry.leases.acquire(number, ONE, by="asha", run_id="r1")
        registry.leases.release(number, ONE, "done")
    assert registry.read().versions == ()
    listed = registry._session.client.search_registered_models()
    assert [model.name for model in listed] == ["small"]


def test_a_broken_lease_is_not_believed(registry: Registry) -> None:
    registry.leases.acquire(1, ONE, by="asha", run_id="r1")
    run = registry.read().leases_run
    registry._session.client.log_param(run, "lease.2.by", "somebody")
    with pytest.raises(EnvironmentFault, match=f"lease 2 of run {run} is no lease: 'host'"):
        registry.leases.read()


def test_a_run_that_was_deleted_is_not_taken_for_no_leases(registry: Registry) -> None:
    registry.leases.acquire(1, ONE, by="asha", run_id="r1")
    client = registry._session.client
    client.set_registered_model_tag("small", "leases.run", "0" * 32)
    with pytest.raises(EnvironmentFault, match=r"run 0+, which keeps the leases"):
        Registry(None, "small", registry._home).leases.read()


class TestOfAnEarlierMlPipeline:
    """It kept each lease as a registered model, and its models name no run of leases."""

    @pytest.fixture
    def earlier(self, registry: Registry, make_bundle: Callable[..., Path]) -> Registry:
        registry.register(make_bundle())
        client = registry._session.client
        client.delete_registered_model_tag("small", "leases.run")
        for number, ended in ((1, "done"), (2, None)):
            tags = {
                "claim.by": "asha",
                "claim.host": "there",
                "claim.run_id": f"r{number}",
                "claim.at": f"2026-01-0{number}T00:00:00+00:00",
                "claim.token": str(number) * 32,
                "claim.kind": "promotion",
                "claim.version": str(number),
                "claim.bundle": "b" * 64,
                "claim.approval": "a" * 64,
            }
            client.create_registered_model(
                f"_promotion.small.{number}", tags | ({"claim.ended": ended} if ended else {})
            )
        return Registry(None, "small", registry._home)

    @staticmethod
    def summary(leases: tuple[Lease, ...]) -> list[tuple[object, ...]]:
        return [
            (one.number, one.holder.run_id, one.holder.token[0], one.subject.version, one.ended)
            for one in leases
            if one.subject is not None
        ]

    def test_its_leases_are_read(self, earlier: Registry) -> None:
        expected = [(1, "r1", "1", 1, "done"), (2, "r2", "2", 2, None)]
        assert self.summary(earlier.leases.read()) == expected
        assert self.summary(earlier.leases.read(earlier.read())) == expected
        assert earlier.read().leases_run is None, "reading changes nothing"

    def test_an_open_one_is_ended_and_the_next_one_acquired(self, earlier: Registry) -> None:
        earlier.leases.release(2, "2" * 32, "taken back")
        assert earlier.leases.acquire(3, "3" * 32, by="bela", run_id="r3")
        again = Registry(None, "small", earlier._home)
        assert self.summary(again.leases.read()) == [
            (1, "r1", "1", 1, "done"),
            (2, "r2", "2", 2, "taken back"),
        ]
        assert [one.holder.by for one in again.leases.read()] == ["asha", "asha", "bela"]
        assert again.read().leases_run is not None

    def test_an_open_lease_keeps_its_number(self, earlier: Registry) -> None:
        attempt = earlier.leases.acquire(2, "3" * 32, by="bela", run_id="r3")
        assert not attempt
        assert attempt.holder.by == "asha"

    def test_two_that_copy_them_at_once_use_one_run(self, earlier: Registry) -> None:
        here, there = (Registry(None, "small", earlier._home) for _ in range(2))
        with there._session.scope():
            run = there.leases._migrated()
        there._session.client.delete_registered_model_tag("small", "leases.run")
        assert here.leases.acquire(3, "3" * 32, by="asha", run_id="r3")
        assert here.read().leases_run == run

    def test_a_model_of_that_name_is_not_believed(self, earlier: Registry) -> None:
        earlier._session.client.create_registered_model("_promotion.small.3")
        with pytest.raises(EnvironmentFault, match=r"'_promotion.small.3' is no lease"):
            earlier.leases.read()
        with pytest.raises(EnvironmentFault, match=r"'_promotion.small.3' is no lease"):
            earlier.leases.acquire(3, ONE, by="asha", run_id="r1")


@pytest.mark.parametrize(("number", "token"), [(0, ONE), (1, ""), (1, "x" * 32)])
def test_a_wrong_number_or_token_is_a_fault_of_the_caller(
    registry: Registry, number: int, token: str
) -> None:
    with pytest.raises(ValueError, match="lease"):
        registry.leases.acquire(number, token, by="asha", run_id="r1")


def test_a_folder_keeps_no_leases(tmp_path: Path) -> None:
    registry = Registry(f"file://{tmp_path}/runs", "small", Home(tmp_path))
    with pytest.raises(UsageError, match="is a folder"):
        registry.leases.acquire(1, ONE, by="asha", run_id="r1")


@pytest.mark.slow
def test_of_two_processes_on_one_sqlite_file_exactly_one_wins(
    registry: Registry, tmp_path: Path
) -> None:
    assert registry.exists()
    check(race(None, tmp_path))
