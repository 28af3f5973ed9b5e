"""One command at a time deploys to an environment."""

from __future__ import annotations

from filelock import FileLock, Timeout

from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.targets.base import Placement

SECONDS = 60.0


def hold(placement: Placement) -> FileLock:
    """Hold the environment, whatever its target, until the lock is released.

    Raises:
        EnvironmentFault: another command deploys to it.
    """
    folder = placement.home / "servers"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(folder / f"{placement.name}.lock")
    try:
        lock.acquire(timeout=SECONDS)
    except Timeout:
        raise EnvironmentFault(
            f"another command deploys to {placement.name}", hint="try again when it has ended"
        ) from None
    return lock
