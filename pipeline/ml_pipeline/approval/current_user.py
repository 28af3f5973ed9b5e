"""The operating system's user of this process."""

from __future__ import annotations

import getpass
import os


def current_user_name() -> str:
    """Return the user's name, or the uid if it has no name."""
    try:
        return getpass.getuser().encode("utf-8", "backslashreplace").decode()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
