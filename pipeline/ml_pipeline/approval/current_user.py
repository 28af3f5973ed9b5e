"""Who runs the program, as far as the system knows."""

from __future__ import annotations

import getpass
import os


def user() -> str:
    """Return the name of the user, or its number where it has no name."""
    try:
        return getpass.getuser().encode("utf-8", "backslashreplace").decode()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
