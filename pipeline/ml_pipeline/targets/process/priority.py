"""Lets a server that starts give way to the one that has the requests.

The unit is the session, of which every server has its own: Linux shares the processor among
sessions (autogroups, sched(7)), and anybody may lower the share of their own and put it back. A
niceness, which only the privileged take back, counts within a session alone. Where there are no
autogroups (in a container with a share of its own, without Linux) nothing is done.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from ml_pipeline.core.errors import EnvironmentFault

LOW, USUAL = 10, 0
RESTORE_SECONDS = 5.0
"""The system takes ten changes a second from all of its users together."""


def lower(pid: int) -> None:
    """Give the session of a process a tenth of the usual share, if the system can."""
    with contextlib.suppress(OSError):
        _autogroup(pid).write_text(str(LOW))


def restore(pid: int) -> None:
    """Give the session of a process the usual share.

    Raises:
        EnvironmentFault: the system does not do it.
    """
    path = _autogroup(pid)
    deadline = time.monotonic() + RESTORE_SECONDS
    while path.exists():
        try:
            path.write_text(str(USUAL))
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
