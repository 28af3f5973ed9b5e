"""What the repository knows about the code: its commit, and who made the commits since another."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
TIMEOUT = 30
ADDRESS = re.compile(r"<([^<>]*)>")


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


def authors(root: Path, since: str | None, until: str) -> frozenset[str] | None:
    """Return the addresses of everyone named by the commits after ``since`` up to ``until``.

    Authors, committers and ``Co-authored-by`` trailers count, in lower case; a trailer without an
    address counts as its whole text.

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
    trailer = "%(trailers:key=Co-authored-by,valueonly=true)"
    text = _git(root, "log", f"--format=<%ae>%n<%ce>%n{trailer}", "--end-of-options", span, "--")
    if text is None:
        return None
    return frozenset(
        (found[1] if (found := ADDRESS.search(line)) else line).strip().lower()
        for line in text.splitlines()
        if line.strip()
    )


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git printed, or None where it failed or is not installed."""
    try:
        done = subprocess.run(
            [
                "git",
                "--no-optional-locks",
                "-C",
                str(root),
                "-c",
                "log.showSignature=false",
                *arguments,
            ],
            capture_output=True,
            check=False,
            timeout=TIMEOUT,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
