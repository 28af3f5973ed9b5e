from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.registry.leases import claim_name
from ml_pipeline.registry.mlflow_registry import Registry

from tests.registry.race import check, race

ONE, OTHER = "1" * 32, "2" * 32


@pytest.fixture
def registry(tmp_path: Path, registry_database: Path) -> Registry:
    (tmp_path / "mlflow.db").write_bytes(registry_database.read_bytes())
    return Registry(None, "small", Home(tmp_path))


def test_the_first_claim_wins_and_the_others_are_told_who_holds_it(registry: Registry) -> None:
    assert registry.claimed_by(1) is None
    assert registry.claim(1, ONE, by="asha", run_id="r1")
    late = registry.claim(1, OTHER, by="bela", run_id="r2")
    assert not late
    assert late.holder == registry.claimed_by(1)
    assert (late.holder.by, late.holder.run_id) == ("asha", "r1")
    assert late.holder.host == socket.gethostname()
    assert 0 <= (datetime.now(UTC) - late.holder.at).total_seconds() < 60
    assert str(late.holder).startswith(f"asha on {socket.gethostname()}, run r1, since 2")


def test_numbers_and_models_are_claimed_each_by_itself(registry: Registry, tmp_path: Path) -> None:
    assert registry.claim(1, ONE, by="asha", run_id="r1")
    assert registry.claim(2, OTHER, by="bela", run_id="r2")
    assert Registry(None, "small.1", Home(tmp_path)).claim(1, OTHER, by="bela", run_id="r2")


def test_whoever_wrote_the_token_down_knows_its_claim_again(registry: Registry) -> None:
    first = registry.claim(1, ONE, by="asha", run_id="r1")
    again = registry.claim(1, ONE, by="asha", run_id="r7")
    assert again
    assert again.holder == first.holder


def test_a_claim_is_no_model_that_is_delivered(registry: Registry) -> None:
    registry.claim(1, ONE, by="asha", run_id="r1")
    assert registry.versions() == []
    assert registry.champion() is None


def test_a_model_of_the_claims_name_is_not_believed(registry: Registry) -> None:
    registry._client.create_registered_model(claim_name("small", 1))
    with pytest.raises(EnvironmentFault, match="is no claim"):
        registry.claim(1, ONE, by="asha", run_id="r1")
    with pytest.raises(EnvironmentFault, match="is no claim"):
        registry.claimed_by(1)


@pytest.mark.parametrize(("number", "token"), [(0, ONE), (1, ""), (1, "x" * 32)])
def test_what_is_no_claim_is_a_fault_of_the_caller(
    registry: Registry, number: int, token: str
) -> None:
    with pytest.raises(ValueError, match="claim"):
        registry.claim(number, token, by="asha", run_id="r1")


def test_a_folder_is_no_place_to_claim_in(tmp_path: Path) -> None:
    registry = Registry(f"file://{tmp_path}/runs", "small", Home(tmp_path))
    with pytest.raises(UsageError, match="is a folder"):
        registry.claim(1, ONE, by="asha", run_id="r1")


@pytest.mark.slow
def test_of_two_processes_on_one_sqlite_file_exactly_one_wins(
    registry: Registry, tmp_path: Path
) -> None:
    assert registry.exists()
    check(race(None, tmp_path))
