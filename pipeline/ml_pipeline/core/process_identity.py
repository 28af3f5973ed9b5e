"""Identifies a process by its pid and start time, which does not depend on the wall clock.

A pid is given to another process sooner or later, so the start is compared too. The wall clock does
not do for it: when it is set, the time at which a running process seems to have been created moves
along. Linux counts in ticks since the machine was booted, and names each boot.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.clock import BOOT_ID

if TYPE_CHECKING:
    import psutil

CREATED = "created "
"""Prefix of a start time in seconds since the epoch, on systems without /proc."""
CLOCK_SECONDS = 2.0
"""Tolerance of such a start time, in seconds."""


def start_of(pid: int) -> str:
    """Return when a process started.

    Raises:
        psutil.NoSuchProcess: it has ended.
    """
    import psutil

    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"boot {BOOT_ID.read_text().strip()} ticks {ticks}"
    except (FileNotFoundError, ProcessLookupError):
        return f"{CREATED}{psutil.Process(pid).create_time()}"


def with_start(values: dict[str, Any]) -> dict[str, Any]:
    """Return a record of a process in its present form.

    Earlier versions wrote ``created``, in seconds since the epoch.
    """
    if "created" not in values:
        return values
    others = {key: value for key, value in values.items() if key != "created"}
    return others | {"started": f"{CREATED}{float(values['created'])}"}


def running(pid: int, started: str) -> psutil.Process | None:
    """Return the process if it is running and has this start time."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or not _is_start(process, started):
            return None
    except psutil.Error:
        return None
    return process


def _is_start(process: psutil.Process, started: str) -> bool:
    if started.startswith(CREATED):
        seconds = float(started.removeprefix(CREATED))
        return abs(process.create_time() - seconds) <= CLOCK_SECONDS
    return start_of(process.pid) == started
