"""The authors that a commit names, read from the commit object."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from itertools import takewhile

BRACKETED = re.compile(r"<([^<>]*)>")
BARE = re.compile(r"[^\s<>()\[\],;:\"]+@[^\s<>()\[\],;:\"]+")
CO_AUTHOR = re.compile(r"\bco[\W_]*(?:author|develop)(?:ed)?(?:[\W_]*by)?\s*:", re.IGNORECASE)
"""A line that names a co-author, in the trailers or in the list of a squashed commit."""
AUTHOR = re.compile(r"\W*author(?:ed[\W_]*by)?\s*:", re.IGNORECASE)
"""The same in the log that ``git merge --squash`` proposes; it counts if an address follows."""
WHEN = re.compile(r"\s+\d+ [+-]\d+$")
"""The time after a person in the header of a commit."""


def parents_of(commit: bytes) -> list[str]:
    """Return the ids of the commits before one."""
    return [
        value.decode("ascii", "replace") for name, value in _fields(commit) if name == b"parent"
    ]


def authors_of(commit: bytes) -> set[str]:
    """Return the addresses of author, committer and everyone whom the message names as an author.

    The message is read in the encoding that the commit states, and in UTF-8 too, so that no
    statement hides a line of it.
    """
    fields = _fields(commit)
    found: set[str] = set()
    for name, value in fields:
        if name in (b"author", b"committer"):
            person = WHEN.sub("", value.decode("utf-8", "replace"))
            addresses = {each.strip().lower() for each in BRACKETED.findall(person)} - {""}
            found |= addresses or _address(person)
    message = commit.partition(b"\n\n")[2]
    stated = [value.decode("ascii", "replace") for name, value in fields if name == b"encoding"]
    for encoding in ("utf-8", *stated):
        with contextlib.suppress(LookupError, UnicodeError):  # git knows other names than Python
            found |= _named_in(message.decode(encoding, "replace"))
    return found


def _fields(commit: bytes) -> list[tuple[bytes, bytes]]:
    lines = commit.partition(b"\n\n")[0].split(b"\n")
    split = [line.partition(b" ") for line in lines if not line.startswith(b" ")]
    return [(name, value) for name, _, value in split]


def _named_in(message: str) -> set[str]:
    """Return the addresses of those whom a commit's message names as its authors."""
    found: set[str] = set()
    lines = ["".join(filter(_is_seen, line)) for line in message.splitlines()]
    for number, line in enumerate(lines, 1):
        folded = list(takewhile(_continues, lines[number:]))
        if match := CO_AUTHOR.search(line):
            found |= _addresses(" ".join([line[match.end() :], *folded]))
        elif match := AUTHOR.match(line):
            found |= {one for one in _addresses(line[match.end() :]) if BARE.fullmatch(one)}
    return found


def _is_seen(letter: str) -> bool:
    return letter == "\t" or unicodedata.category(letter) not in ("Cc", "Cf")


def _continues(line: str) -> bool:
    """Return whether a line continues the trailer before it, as git folds them."""
    return line[:1] in " \t" and bool(line.strip()) and ":" not in line.partition("<")[0]


def _address(person: str) -> set[str]:
    """Return the address of an author or a committer; the whole text if it has none."""
    address = person.rpartition("<")[2].rstrip(">").strip().lower()
    return {address or " ".join(person.split()).lower()}


def _addresses(text: str) -> set[str]:
    """Return the addresses in a text; the text itself if it has none."""
    bare = BARE.findall(BRACKETED.sub(" ", text))
    found = {address.strip().lower() for address in (*BRACKETED.findall(text), *bare)} - {""}
    return found or {" ".join(text.split()).lower()} - {""}
