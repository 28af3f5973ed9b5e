"""``production-model.yaml`` in a git repository: pushed after a change, read by reconcile.

Git is a subprocess with a list of arguments. Credentials are git's own (an agent, a helper), or a
token that git asks for through ``GIT_ASKPASS``: it is in the environment of git alone, in no
argument, no URL and no file.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ml_pipeline.config import GitopsSection
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError

ATTEMPTS = 5
"""Attempts to push, since others may push in between."""
SECONDS = 60
ASKPASS = """#!/bin/sh
case "$1" in
    Username*) printf '%s\\n' "$ML_GIT_USER" ;;
    *) printf '%s\\n' "$ML_GIT_TOKEN" ;;
esac
"""
INHERITED = ("GIT_SSH", "GIT_SSL_", "GIT_ASKPASS", "GIT_HTTP_")
"""Prefixes of the environment variables that git keeps: those about the connection."""
LOST_RACE = ("[rejected]", "cannot lock ref", "failed to update ref", "incorrect old value")


@dataclass(frozen=True)
class Published:
    """Where a file went."""

    branch: str
    waits: bool
    """Whether a pull request has to be merged before it is on the configured branch."""
    stale: tuple[str, ...] = ()
    """Branches with earlier versions that could not be deleted and must not be merged."""


def publish(
    section: GitopsSection,
    content: bytes,
    *,
    title: str,
    branch: str,
    environment: Mapping[str, str] | None = None,
) -> Published:
    """Commit the file and push it; whoever pushed meanwhile is kept, since only the file changes.

    Branches that wait with another version of the model are deleted, which closes their pull
    requests: merged later they would ask for a version that production has left.

    Args:
        section: Repository, branch and path.
        content: The whole file.
        title: Of the commit.
        branch: Where it goes for a pull request, if the configured one is protected or
            ``pull_request`` is set.
        environment: The process's own if left out.

    Raises:
        UsageError: the branch or the variable with the token is not there.
        Refused: the repository takes neither branch.
        EnvironmentFault: the repository does not answer, or others were always faster.
    """
    with _clone(section, environment) as clone:
        for _ in range(ATTEMPTS):
            clone.git("fetch", "--quiet", "--depth=1", "origin", f"refs/heads/{section.branch}")
            clone.git("reset", "--quiet", "--hard", "FETCH_HEAD")
            path = _inside(clone.folder, section.path)
            if path.is_file() and path.read_bytes() == content:
                return _only(clone, Published(section.branch, waits=False), branch)
            path.parent.mkdir(parents=True, exist_ok=True)
            workdir.write_bytes(path, content)
            clone.git("add", "--force", "--", section.path)
            clone.git("commit", "--quiet", "--no-verify", f"--message={title}")
            if section.pull_request:
                return _only(clone, _propose(clone, branch), branch)
            said = clone.push(f"HEAD:refs/heads/{section.branch}")
            if said is None:
                return _only(clone, Published(section.branch, waits=False), branch)
            if not any(words in said for words in LOST_RACE):
                return _only(clone, _propose(clone, branch), branch)
    raise EnvironmentFault(
        f"others pushed to {section.branch} of {section.repository} {ATTEMPTS} times meanwhile",
        hint="try again",
    )


def fetch(
    section: GitopsSection,
    *,
    pull_request_branch: str,
    environment: Mapping[str, str] | None = None,
) -> bytes | None:
    """Return the file on the configured branch; None while the branch of a pull request exists.

    Raises:
        UsageError: the branch, the file or the variable with the token is not there.
        EnvironmentFault: the repository does not answer.
    """
    with _clone(section, environment) as clone:
        waits = clone.git("ls-remote", "--heads", "origin", f"refs/heads/{pull_request_branch}")
        if waits.strip():
            return None
        clone.git("fetch", "--quiet", "--depth=1", "origin", f"refs/heads/{section.branch}")
        clone.git("reset", "--quiet", "--hard", "FETCH_HEAD")
        path = _inside(clone.folder, section.path)
        if not path.is_file():
            raise UsageError(f"{section.repository} has no {section.path} on {section.branch}")
        return path.read_bytes()


def _propose(clone: _Clone, branch: str) -> Published:
    said = clone.push(f"+HEAD:refs/heads/{branch}")
    if said is not None:
        raise Refused(
            f"the repository takes no push to {branch}: {said}",
            hint="let the user of the token push there",
        )
    return Published(branch, waits=True)


def _only(clone: _Clone, published: Published, branch: str) -> Published:
    """Delete the other branches of the model that ``branch``, ``.../MODEL-vN``, is named after."""
    stem = f"refs/heads/{branch.rpartition('-v')[0]}-v"
    kept = f"refs/heads/{published.branch}"
    lines = clone.git("ls-remote", "--heads", "origin", f"{stem}*").splitlines()
    found = [line.partition("\t")[2] for line in lines]
    others = [name for name in found if name != kept and name.removeprefix(stem).isdecimal()]
    left = [name for name in others if clone.push(f":{name}") is not None]
    return replace(published, stale=tuple(name.removeprefix("refs/heads/") for name in left))


@dataclass(frozen=True)
class _Clone:
    folder: Path
    environment: Mapping[str, str]

    def git(self, *words: str) -> str:
        done = self.run(*words)
        if done.returncode:
            raise _fault(words[0], done.stderr)
        return done.stdout

    def push(self, refs: str) -> str | None:
        """Push; return None, or why the remote rejected it."""
        done = self.run("push", "--porcelain", "--no-verify", "origin", refs)
        if not done.returncode:
            return None
        for line in done.stdout.splitlines():
            if line.startswith("!"):
                return line.rpartition("\t")[2]
        raise _fault("push", done.stderr)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                ["git", "-C", str(self.folder), "-c", "core.hooksPath=/dev/null", *words],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                timeout=SECONDS,
            )
        except FileNotFoundError:
            raise EnvironmentFault("gitops needs git", hint="install it") from None
        except subprocess.TimeoutExpired:
            raise EnvironmentFault(f"git {words[0]} took longer than {SECONDS} s") from None


@contextmanager
def _clone(section: GitopsSection, environment: Mapping[str, str] | None) -> Iterator[_Clone]:
    """Yield an empty repository whose ``origin`` is the configured one."""
    if section.repository is None:
        raise UsageError("gitops.repository is not set")
    given = dict(os.environ if environment is None else environment)
    with tempfile.TemporaryDirectory(prefix="ml-pipeline-git-") as scratch:
        plain = {
            name: value
            for name, value in given.items()
            if not name.startswith("GIT_") or name.startswith(INHERITED)
        }
        variables = plain | {
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "file:http:https:ssh",
            "LC_ALL": "C",
            "GIT_AUTHOR_NAME": section.author,
            "GIT_AUTHOR_EMAIL": section.email,
            "GIT_COMMITTER_NAME": section.author,
            "GIT_COMMITTER_EMAIL": section.email,
        }
        if section.token_env is not None:
            token = given.get(section.token_env)
            if not token:
                raise UsageError(f"{section.token_env} is not set", expected="the token of git")
            script = Path(scratch) / "askpass"
            script.write_text(ASKPASS)
            script.chmod(0o700)
            variables |= {
                "GIT_ASKPASS": str(script),
                "ML_GIT_USER": section.user,
                "ML_GIT_TOKEN": token,
            }
        folder = Path(scratch) / "clone"
        folder.mkdir()
        clone = _Clone(folder, variables)
        clone.git("init", "--quiet")
        clone.git("remote", "add", "origin", "--", section.repository)
        yield clone


def _inside(folder: Path, path: str) -> Path:
    """Return the file; raises Refused if it is, or is reached by, a symbolic link."""
    found = folder / path
    if found.is_symlink() or not found.parent.resolve().is_relative_to(folder.resolve()):
        raise Refused(f"{path} of the repository is a symbolic link", expected="a file")
    return found


def _fault(verb: str, stderr: str) -> EnvironmentFault:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    message = next((line for line in lines if line.startswith(("fatal:", "error:"))), "")
    return EnvironmentFault(
        f"git {verb}: {message or (lines[-1] if lines else 'failed')}",
        hint="see that gitops.repository and gitops.branch are right and may be read and written",
    )
