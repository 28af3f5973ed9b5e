"""One command at a time deploys to an environment."""

from __future__ import annotations

from filelock import FileLock, Timeout

from pipeline.errors import EnvironmentFault
from pipeline.home import Home

SECONDS = 60.0


def hold(home: Home, name: str) -> FileLock:
    """Hold the environment ``name``, whatever its target, until the lock is released.

    Raises:
        EnvironmentFault: another command deploys to it.
    """
    folder = home / "servers"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=SECONDS)
    except Timeout:
        raise EnvironmentFault(
            f"another command deploys to {name}", hint="try again when it has ended"
        ) from None
    return lock
