"""One command at a time deploys to an environment."""

from __future__ import annotations

from ml_pipeline.core import locks
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.locks import Lock
from ml_pipeline.targets.base import Placement

TIMEOUT = 60.0
"""Seconds to wait for another command."""


def acquire(placement: Placement) -> Lock:
    """Lock the environment, whatever its target; the caller releases the lock.

    Raises:
        EnvironmentFault: another command holds it for ``TIMEOUT``.
    """
    folder = placement.home / "servers"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    busy = EnvironmentFault(
        f"another command deploys to {placement.name}", hint="try again when it has ended"
    )
    return locks.acquire(folder / f"{placement.name}.lock", timeout=TIMEOUT, busy=busy)
