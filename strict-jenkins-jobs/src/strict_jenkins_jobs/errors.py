"""The errors that a command may end with, one exit code each.

::

    JobsError             5  a fault of the program
    ├── Refused           1  the plan was not confirmed, or something on the server prevents it
    ├── UsageError        2  a flag, a YAML file, the credentials or permissions are wrong
    └── ServerError       3  Jenkins does not answer: retrying may help
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import ClassVar

PASS = 0
USER_INFO = re.compile(r"(?<=://)([^\s:/@|()^\[\]'\"<>]*):([^\s'\"<>]*)@")
"""User and password of a URL; a password that was not quoted may hold ``/``, ``:`` and ``@``."""
TOKEN = re.compile(r"(?<=://)[^\s:/@'\"<>]{16,}@")
"""A token in a user's place."""
PARAMETER = re.compile(
    r"([?&;](?:[a-z_-]*(?:password|passwd|pwd|token|secret|api_?key|signature)|sig)=)[^&;\s'\"<>]*",
    re.IGNORECASE,
)
"""A credential in a URL's query."""


class JobsError(Exception):
    """What is at fault, what was expected and what to do next, in one line."""

    exit_code: ClassVar[int] = 5

    def __init__(self, fault: str, *, expected: str = "", hint: str = "") -> None:
        parts = [fault, f"expected {expected}" if expected else "", hint]
        super().__init__(masked("; ".join(" ".join(part.split()) for part in parts if part)))


class Refused(JobsError):
    """The plan was not confirmed, or something on the server prevents it."""

    exit_code = 1


class UsageError(JobsError):
    """A flag, a YAML file, the credentials or permissions are wrong."""

    exit_code = 2


class ServerError(JobsError):
    """Jenkins does not answer, or not as a Jenkins does; retrying may help."""

    exit_code = 3


def masked(text: str) -> str:
    """Return the text with ``***`` in place of passwords and tokens of the URLs in it."""
    return PARAMETER.sub(r"\1***", TOKEN.sub("***@", USER_INFO.sub(r"\1:***@", text)))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"did you mean 'X'?"``, or the known words where none is near."""
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(words)}"
