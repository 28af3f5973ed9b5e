"""Faults of a switch that are not caused by the bundle; the old model keeps serving."""

import os
import shutil
import signal

import psutil
import pytest
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.targets import environment_lock
from ml_pipeline.targets.process import server_process

from tests.servers import served_version


@pytest.fixture
def other(make_bundle):
    return make_bundle("b", identity="b", weight=2.0)


def test_a_server_that_is_not_ready_in_time(place, make_bundle, other, monkeypatch):
    first = place.deploy(make_bundle(), 1)
    children = psutil.Process().children()
    monkeypatch.setattr(server_process, "START_SECONDS", 0.05)
    with pytest.raises(
        EnvironmentFault, match=r"did not respond within 0\.05 s; see .*staging\.log"
    ):
        place.deploy(other, 2)
    assert place.status() == first
    assert served_version(place.url) == 1
    assert psutil.Process().children() == children
    assert len(list((place.home / "servers").glob("*.sock"))) == 1


def test_an_old_server_that_hangs_is_replaced_and_killed(
    place, make_bundle, other, monkeypatch, caplog
):
    first = place.deploy(make_bundle(), 1)
    os.kill(first.pid, signal.SIGSTOP)
    monkeypatch.setattr(server_process, "HUNG_SECONDS", 0.3)
    second = place.deploy(other, 2)
    assert f"the server (process {first.pid}) does not respond: it is ended" in caplog.text
    assert place.status() == second
    assert served_version(place.url) == 2
    assert not psutil.pid_exists(first.pid)


def test_an_old_server_that_hangs_after_the_switch_is_killed(
    place, make_bundle, other, monkeypatch
):
    first = place.deploy(make_bundle(), 1)
    monkeypatch.setattr(server_process, "END_SECONDS", 0.5)
    with place.handover(other, 2) as handover:
        os.kill(first.pid, signal.SIGSTOP)
        handover.commit()
    assert served_version(place.url) == 2
    assert not psutil.pid_exists(first.pid)


def test_two_commands_at_once(target_place, make_bundle, other, monkeypatch):
    first = target_place.deploy(make_bundle(), 1)
    monkeypatch.setattr(environment_lock, "TIMEOUT", 0.1)
    lock = environment_lock.acquire(target_place.placement)
    try:
        with pytest.raises(EnvironmentFault, match="another command deploys to staging; try again"):
            target_place.deploy(other, 2)
    finally:
        lock.release()
    assert target_place.status() == first
    assert target_place.deploy(other, 2).version == 2


def test_a_full_disk(target_place, make_bundle, other, monkeypatch):
    """The stage exits with 3: tests/stages/test_deploy.py."""
    first = target_place.deploy(make_bundle(), 1)

    def full(source, destination):
        destination.write_bytes(source.read_bytes()[:10])
        raise OSError(28, "No space left on device", str(destination))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(OSError, match="No space left"):
            target_place.deploy(other, 2)
    assert target_place.status() == first
    assert len(list((target_place.home / "released").iterdir())) == 1
    assert target_place.deploy(other, 2).version == 2
