"""A lock on a file is held by one process and taken in one module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ml_pipeline.core import locks
from ml_pipeline.core.errors import EnvironmentFault

BUSY = EnvironmentFault("the registry is in use", hint="wait for the other build")
HOLD = """
import sys
from pathlib import Path
from ml_pipeline.core import locks
with locks.locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    """A process that holds the lock on ``a.lock``."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "a.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_lock_of_another_process_raises_the_given_error(tmp_path: Path, holder) -> None:
    with (
        pytest.raises(EnvironmentFault, match="the registry is in use"),
        locks.locked(tmp_path / "a.lock", timeout=0, busy=BUSY),
    ):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path, holder) -> None:
    holder.kill()
    holder.wait()
    lock = locks.acquire(tmp_path / "a.lock", timeout=0, busy=BUSY)
    assert lock.is_locked
    lock.release()


def test_an_exception_in_the_block_releases_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with pytest.raises(KeyError), locks.locked(path):
        raise KeyError
    with locks.locked(path, timeout=0, busy=BUSY):
        pass
