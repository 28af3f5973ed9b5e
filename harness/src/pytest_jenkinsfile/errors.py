"""The errors that a run may raise instead of returning a build.

::

    HarnessError                5  the harness cannot run the script; not a result of the pipeline
    ├── UsageError              2  an argument, a flag or an answers file is wrong
    │   └── UnsupportedError       the script uses a feature that the harness does not support
    └── EngineError             3  the engine cannot be fetched or started: retrying may help
    CpsMismatch                    an AssertionError: Jenkins would continue with a wrong value

The numbers are the exit codes of the command.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import ClassVar

DOCUMENTATION = "docs/jenkinsfile-syntax.md of pytest-jenkinsfile"
USER_INFO = re.compile(r"(?<=://)([^\s:/@|()^\[\]'\"<>]*):([^\s'\"<>]*)@")
"""User and password of a URL; a password that was not quoted may hold ``/``, ``:`` and ``@``."""
TOKEN = re.compile(r"(?<=://)[^\s:/@'\"<>]{16,}@")
"""A token in place of a user."""


class HarnessError(Exception):
    """The harness cannot run the script; this is not a result of the pipeline."""

    exit_code: ClassVar[int] = 5

    def __init__(self, fault: str, *, expected: str = "", hint: str = "") -> None:
        parts = [fault, f"expected {expected}" if expected else "", hint]
        text = "; ".join(" ".join(part.split()) for part in parts if part)
        super().__init__(TOKEN.sub("***@", USER_INFO.sub(r"\1:***@", text)))


class UsageError(HarnessError):
    """An argument, a flag or a file of the caller is wrong."""

    exit_code = 2


class UnsupportedError(UsageError):
    """The script uses a feature of Jenkins or a plugin that the harness does not support."""

    def __init__(self, feature: str) -> None:
        super().__init__(feature, hint=f"see {DOCUMENTATION}")


class EngineError(HarnessError):
    """The engine cannot be fetched, compiled or started; retrying may help."""

    exit_code = 3


class CpsMismatch(AssertionError):
    """Non-CPS code called CPS code: a value is wrong, although Jenkins only logs a warning."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"did you mean 'X'?"``, or the known words if none is close."""
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(words)}"
