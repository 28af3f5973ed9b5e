"""A server that starts gives way, and does not once it is to serve."""

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


def test_it_is_lowered_and_put_back(session):
    time.sleep(0.2)  # the system takes ten changes a second
    priority.lower(session)
    assert niceness(session) == 10
    priority.restore(session)
    assert niceness(session) == 0


def test_a_system_without_sessions_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(priority, "_autogroup", lambda _: tmp_path / "none/autogroup")
    priority.lower(1)
    priority.restore(1)


def test_one_that_is_not_put_back_is_a_fault(monkeypatch, tmp_path):
    monkeypatch.setattr(priority, "_autogroup", lambda _: tmp_path)  # a folder takes no text
    monkeypatch.setattr(priority, "RESTORE_SECONDS", 0.1)
    with pytest.raises(EnvironmentFault, match=r"process 7\) keeps a low priority: Is a directory"):
        priority.restore(7)


def test_a_server_beside_another_is_lowered_until_it_is_proved(place, make_bundle, monkeypatch):
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
