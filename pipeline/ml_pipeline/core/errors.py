"""The errors that a verb may end with, one exit code each.

::

    PipelineError
    ├── Refused           1  the verdict is no: data, model or gate failed a check
    ├── UsageError        2  a flag, a key or a file of the project is wrong
    ├── EnvironmentFault  3  network, engine, registry, disk: retrying may help
    └── WaitingForPerson  4  an approval is due

A stage that is not over yet, such as a watch within its time, ends with 4 too.

Anything else that escapes is a fault of the program and ends with 5.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import ClassVar

PASS = 0
PROGRAM_FAULT = 5
INTERRUPTED = 130


class PipelineError(Exception):
    """What is at fault, what was expected and what to do next, in one line."""

    exit_code: ClassVar[int] = PROGRAM_FAULT

    def __init__(
        self, fault: str, *, expected: str = "", hint: str = "", details: str = ""
    ) -> None:
        self.fault = masked(fault)
        self.expected = masked(expected)
        self.hint = masked(hint)
        parts = [self.fault]
        if expected:
            parts.append(f"expected {self.expected}")
        if hint:
            parts.append(self.hint)
        if details:
            parts.append(masked(details))
        super().__init__("; ".join(" ".join(part.split()) for part in parts))


class Refused(PipelineError):
    """The data, the model or a rule fails a check."""

    exit_code = 1


class UsageError(PipelineError):
    """A flag, a configuration key or a file of the project is wrong."""

    exit_code = 2


class EnvironmentFault(PipelineError):
    """Something outside the project does not answer; retrying may help."""

    exit_code = 3


class WaitingForPerson(PipelineError):
    """Nothing is wrong; a person has to decide before the run goes on."""

    exit_code = 4


USER_INFO = re.compile(r"(?<=://)([^\s:/@|()^\[\]'\"<>]*):([^\s'\"<>]*)@")
"""User and password of a URL; a password that was not quoted may hold ``/``, ``:`` and ``@``."""
TOKEN = re.compile(r"(?<=://)[^\s:/@'\"<>]{16,}@")
"""A token in a user's place."""
REMOTE = re.compile(r"(?<![^\s'\"])([A-Za-z0-9._-]+):([^\s:/@'\"]+)@(?=[A-Za-z0-9.-]+:)")
"""User and password of a remote that git takes without a scheme: ``user:password@host:path``."""
PARAMETER = re.compile(
    r"([?&;](?:[a-z_-]*(?:password|passwd|pwd|token|secret|api_?key|signature)|sig)=)[^&;\s'\"<>]*",
    re.IGNORECASE,
)
"""A credential in a URL's query."""


def masked(text: str) -> str:
    """Return the text with ``***`` in place of passwords and tokens of the URLs in it."""
    if "@" not in text and "=" not in text:
        return text
    text = USER_INFO.sub(r"\1:***@", text)
    text = TOKEN.sub("***@", text)
    text = REMOTE.sub(r"\1:***@", text)
    return PARAMETER.sub(r"\1***", text)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"did you mean 'X'?"``, or the known words where none is near."""
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(words)}" if words else "none is known here"
