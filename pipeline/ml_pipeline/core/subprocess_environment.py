"""The environment variables that a child process inherits: the system's, no secrets."""

from __future__ import annotations

import os

SYSTEM = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
)


def inherited(*more: str) -> dict[str, str]:
    """Return the system's variables, and ``more``, as far as they are set."""
    return {name: os.environ[name] for name in (*SYSTEM, *more) if name in os.environ}
