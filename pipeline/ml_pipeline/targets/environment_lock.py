"""One command at a time deploys to an environment."""

from __future__ import annotations

from ml_pipeline.core import locks
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.locks import Lock
from ml_pipeline.targets.base import Placement

TIMEOUT = 60.0
"""Seconds to wait for another command."""


def hold(placement: Placement) -> Lock:
    """Hold the environment, whatever its target, until the lock is released.

    Raises:
        EnvironmentFault: another command deploys to it.
    """
    folder = placement.home / "servers"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    busy = EnvironmentFault(
        f"another command deploys to {placement.name}", hint="try again when it has ended"
    )
    return locks.acquire(folder / f"{placement.name}.lock", timeout=TIMEOUT, busy=busy)
