"""What the repository knows about the code: its commit, and who made the commits since another."""

from __future__ import annotations

import os
import re
import subprocess
import unicodedata
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path

from pipeline.origin import Origin, remote_name

COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
TIMEOUT = 30
BRACKETED = re.compile(r"<([^<>]*)>")
BARE = re.compile(r"[^\s<>()\[\],;:\"]+@[^\s<>()\[\],;:\"]+")
CO_AUTHOR = re.compile(r"\bco[\W_]*(?:author|develop)(?:ed)?(?:[\W_]*by)?\s*:", re.IGNORECASE)
"""Names a further author, wherever it stands: in the trailers, in a squashed commit's list."""
AUTHOR = re.compile(r"\W*author(?:ed[\W_]*by)?\s*:", re.IGNORECASE)
"""The same in the log that ``git merge --squash`` proposes; it counts if an address follows."""
SETTINGS = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.commitGraph=false",
    "core.quotePath=false",
    "log.showSignature=false",
    "log.showRoot=true",
)
"""The repository's own settings lie where builds can write: none of these may run a program."""


@dataclass(frozen=True)
class Head:
    """The commit that is checked out, and whether files differ from it."""

    commit: str
    dirty: bool


def head(root: Path) -> Head | None:
    """Return the state of the repository that holds ``root``; None where there is none."""
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if commit is None or not COMMIT.fullmatch(commit.strip()):
        return None
    status = _git(root, "status", "--porcelain", "--untracked-files=normal", "--", ".")
    return Head(commit.strip(), dirty=status is None or bool(status.strip()))


def origin(root: Path) -> Origin:
    """Return which repository holds ``root``, as far as git tells."""
    folder = _git(root, "rev-parse", "--show-prefix")
    if folder is None:
        return Origin()
    return Origin(folder.strip("\n").rstrip("/"), _remote(root), cache(lambda: _roots(root)))


def _remote(root: Path) -> str | None:
    """Return the remote ``origin``, or the only one that there is."""
    names = (_git(root, "remote") or "").split()
    name = "origin" if "origin" in names else names[0] if len(names) == 1 else None
    url = None if name is None else _git(root, "config", "--get", f"remote.{name}.url")
    if url is None or not url.strip():
        return None
    path = url.strip()
    if path.startswith("."):
        top = (_git(root, "rev-parse", "--show-toplevel") or "").strip()
        path = str(Path(top, path).resolve())
    return remote_name(path)


def _roots(root: Path) -> tuple[str, ...]:
    if (_git(root, "rev-parse", "--is-shallow-repository") or "").strip() != "false":
        return ()
    return tuple(sorted((_git(root, "rev-list", "--max-parents=0", "HEAD") or "").split()))


def content(root: Path, commit: str, name: str) -> bytes | None:
    """Return a file of a commit as it was committed, without filters and line ends of a check-out.

    Args:
        root: The folder that ``name`` is relative to.
        commit: A commit's full digest.
        name: With slashes.

    Returns:
        Its bytes, or None where the commit has no such file.
    """
    if not COMMIT.fullmatch(commit):
        return None
    return _run(root, "cat-file", "blob", f"{commit}:./{name}")


def authors(root: Path, since: str | None, until: str) -> frozenset[str] | None:
    """Return the addresses of everyone named by the commits after ``since`` up to ``until``.

    Authors, committers and every co-author whom a message names count, wherever it does; one
    without an address counts as the whole text.

    Args:
        root: A folder of the repository.
        since: The commit before the first that counts; None counts the whole history.
        until: The last commit that counts.

    Returns:
        The addresses, or None where the repository cannot tell: there is none, it is a shallow
        clone, or it does not hold one of the commits.
    """
    for commit in (until, *([] if since is None else [since])):
        if not COMMIT.fullmatch(commit):
            return None
    if (_git(root, "rev-parse", "--is-shallow-repository") or "").strip() != "false":
        return None
    span = until if since is None else f"{since}..{until}"
    text = _git(
        root,
        "log",
        "-z",
        "--no-mailmap",
        "--no-notes",
        "--encoding=UTF-8",
        "--format=%an <%ae>%n%cn <%ce>%n%B",
        "--end-of-options",
        span,
        "--",
    )
    if text is None:
        return None
    found: set[str] = set()
    for commit in filter(None, text.split("\0")):
        author, committer, message = [*commit.split("\n", 2), "", ""][:3]
        found |= _address(author) | _address(committer) | _named_in(message)
    return frozenset(found)


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
    """Return whether a line goes on with the trailer before it, as git folds them."""
    return line[:1] in " \t" and bool(line.strip()) and ":" not in line.partition("<")[0]


def _address(person: str) -> set[str]:
    """Return the address of an author or a committer; where there is none, all that is said."""
    address = person.rpartition("<")[2].rstrip(">").strip().lower()
    return {address or " ".join(person.split()).lower()}


def _addresses(text: str) -> set[str]:
    """Return the addresses in a text; where there is none, the text."""
    bare = BARE.findall(BRACKETED.sub(" ", text))
    found = {address.strip().lower() for address in (*BRACKETED.findall(text), *bare)} - {""}
    return found or {" ".join(text.split()).lower()} - {""}


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git printed, or None where it failed or is not installed."""
    found = _run(root, *arguments)
    return None if found is None else found.decode("utf-8", "replace")


def _run(root: Path, *arguments: str) -> bytes | None:
    settings = [word for setting in SETTINGS for word in ("-c", setting)]
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(root), *settings, *arguments],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _environment() -> dict[str, str]:
    """Return the environment without what leads git elsewhere or hides commits from it."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return plain | {
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_GRAFT_FILE": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
