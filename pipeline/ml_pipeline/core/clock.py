"""Elapsed time across processes, by a clock that is never adjusted.

The wall clock is for display only: it jumps when a person or a time server sets it. A duration that
one command begins and another one ends is measured by ``CLOCK_BOOTTIME``, which counts the seconds
since the machine was booted, those that it slept included. The count is of this boot only, so it is
kept with the boot's id: ``{"<boot id>": <seconds>}``, the *marks* of something that began. What
began on another machine, or before a restart, has no mark of this boot and no known age here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

Marks = Mapping[str, float]


def reading() -> tuple[str, float] | None:
    """Return the boot's id and the seconds since it; None where the system has no such clock."""
    try:
        return BOOT_ID.read_text().strip(), time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError):
        return None


def marks(earlier: Marks | None = None) -> dict[str, float]:
    """Return marks of the present moment; ``earlier`` ones of other boots are kept."""
    now = reading()
    return dict(earlier or {}) | ({} if now is None else {now[0]: now[1]})


def age(began: Marks) -> float | None:
    """Return the seconds since the marks were made; None if there is no mark of this boot."""
    now = reading()
    if now is None or now[0] not in began:
        return None
    return max(0.0, now[1] - began[now[0]])
