"""CPU priority of a starting server, lower than that of the server in use.

The priority is set for the session (autogroup, sched(7)), of which every server has its own: Linux
distributes CPU time among sessions, and users may lower the share of their sessions and restore it.
A process niceness, which only privileged users can restore, applies within a session only. Without
autogroups (in a container with its own CPU share, or on another system) nothing is done.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from ml_pipeline.core.errors import EnvironmentFault

LOW_NICENESS, DEFAULT_NICENESS = 10, 0
RESTORE_SECONDS = 5.0
"""The system permits ten changes a second for all users together."""


def lower(pid: int) -> None:
    """Reduce the CPU share of a process' session to a tenth, if the system supports it."""
    with contextlib.suppress(OSError):
        _autogroup(pid).write_text(str(LOW_NICENESS))


def restore(pid: int) -> None:
    """Restore the default CPU share of a process' session.

    Raises:
        EnvironmentFault: the system refuses it.
    """
    path = _autogroup(pid)
    deadline = time.monotonic() + RESTORE_SECONDS
    while path.exists():
        try:
            path.write_text(str(DEFAULT_NICENESS))
        except OSError as error:
            if time.monotonic() > deadline:
                raise EnvironmentFault(
                    f"the new server (process {pid}) keeps a low priority: {error.strerror}",
                    hint="try again",
                ) from error
            time.sleep(0.02)
        else:
            return


def _autogroup(pid: int) -> Path:
    return Path(f"/proc/{pid}/autogroup")
