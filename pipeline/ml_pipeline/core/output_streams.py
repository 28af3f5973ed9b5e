"""Standard output and error that never end a verb: any encoding, closed, full, or no longer read.

Output does not decide the result of a verb: a stage that changes production goes on when the
program that reads its lines (``| head``) has ended, and its exit code is that of the verdict.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import unicodedata
from typing import TextIO

PLAIN = {
    "\u2026": "...",
    "\u2013": "-",
    "\u2014": "-",
    "\u2212": "-",
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2264": "<=",
    "\u2265": ">=",
    "\u2260": "!=",
    "\u00b1": "+-",
    "\u00d7": "x",
    "\u2192": "->",
    "\u2190": "<-",
    "\u2022": "*",
    "\u00b7": "*",
    "\u00a0": " ",
    "\u202f": " ",
    "\u2713": "ok",
    "\u2717": "no",
}
"""Replacements for characters that the output encoding lacks."""


def replace_plainly(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that cannot be encoded: an error handler for ``codecs``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    cannot = error.object[error.start : error.end]
    return "".join(map(_plain, cannot)), error.end


def _plain(character: str) -> str:
    if character in PLAIN:
        return PLAIN[character]
    letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return letters or character.encode("ascii", "backslashreplace").decode()


class SteadyOutput(io.TextIOWrapper):
    """A text stream that drops what cannot be written; ``fault`` is the first reason."""

    fault: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Discard further output, including what is buffered and what child processes write."""
        if self.fault is None:
            self.fault = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def steady_output() -> None:
    """Make the standard streams robust; a closed one becomes the null device."""
    codecs.register_error("plain", replace_plainly)
    _fill_closed()
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115  open to the end
    sys.stdout = _steady(sys.stdout, 1)
    sys.stderr = _steady(sys.stderr, 2)


def _fill_closed() -> None:
    """Open the null device in the place of closed standard streams.

    Else the next file that is opened, a database perhaps, takes the number that children and
    libraries print to.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _steady(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:
        null = open(descriptor, "wb")  # noqa: SIM115  open to the end
        return SteadyOutput(null, encoding="utf-8", errors="plain")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    return SteadyOutput(
        stream.buffer,
        encoding=stream.encoding,
        errors="plain",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def lost_output() -> str:
    """Flush standard output; return why it could not be written, unless its reader has ended."""
    if not isinstance(sys.stdout, SteadyOutput):
        return ""
    sys.stdout.flush()
    fault = sys.stdout.fault
    if fault is None or fault.errno == errno.EPIPE:
        return ""
    return fault.strerror or str(fault)
