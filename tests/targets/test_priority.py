"""A starting server has a low priority until it is verified."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.targets.process import priority, server_process
from ml_pipeline.traffic import probe as probes

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this system shares among no sessions"
)


@pytest.fixture
def session():
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command, start_new_session=True) as process:
        yield process.pid
        process.kill()


def niceness(pid: int) -> int:
    return int(Path(f"/proc/{pid}/autogroup").read_text().split()[-1])


def test_the_priority_is_lowered_and_restored(session):
    time.sleep(0.2)  # the system takes ten changes a second
    priority.lower(session)
    assert niceness(session) == 10
    priority.restore(session)
    assert niceness(session) == 0


def test_without_autogroups_nothing_is_done(monkeypatch, tmp_path):
    monkeypatch.setattr(priority, "_autogroup", lambda _: tmp_path / "none/autogroup")
    priority.lower(1)
    priority.restore(1)


def test_a_priority_that_cannot_be_restored_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(priority, "_autogroup", lambda _: tmp_path)  # a folder takes no text
    monkeypatch.setattr(priority, "RESTORE_SECONDS", 0.1)
    with pytest.raises(EnvironmentFault, match=r"process 7\) keeps a low priority: Is a directory"):
        priority.restore(7)


def test_a_server_beside_another_has_a_low_priority_until_it_is_verified(
    place, make_bundle, monkeypatch
):
    place.deploy(make_bundle("first"), 1)
    started, seen = [], []
    start, probe = server_process.start, probes.probe

    def starting(*bundle, **how):
        started.append(start(*bundle, **how))
        return started[-1]

    def probing(*what):
        seen.append(niceness(started[-1].pid))
        return probe(*what)

    monkeypatch.setattr(server_process, "start", starting)
    monkeypatch.setattr(probes, "probe", probing)
    place.deploy(make_bundle("second"), 2)
    assert seen == [10, 0]
