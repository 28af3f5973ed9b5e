"""The state of a git repository: its commit, and the authors of the commits since another.

No program that the repository's or a person's settings name is run (filters, monitors, hooks,
diffs, transports), and nothing but the commits themselves is believed: see ``git_objects``.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ml_pipeline.core.commit_authors import authors_of, parents_of
from ml_pipeline.core.git_objects import (
    OBJECT_ID,
    SUBMODULE,
    SYMLINK,
    TREE,
    Entry,
    Objects,
    Repository,
    UnreadableError,
    environment,
    find_repository,
    open_objects,
    own_repository,
)
from ml_pipeline.core.repository_origin import Origin, remote_name

TIMEOUT = 30
IGNORE = ".gitignore"
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n"
"""The pointer that Git LFS commits in place of a file."""
PART = 1 << 20
TEXT_LIMIT = 10_000_000
"""Bytes of a file that are searched for line endings."""


@dataclass(frozen=True)
class Head:
    """The commit that is checked out, and whether the working tree differs from it."""

    commit: str
    dirty: bool


def head(root: Path) -> Head | None:
    """Return the state of the repository that holds ``root``; None where there is none.

    A file below ``root`` is dirty if the commit has it and it is missing or differs, or if the
    commit lacks it and it is not ignored: by a ``.gitignore`` file of the commit, or by one in a
    folder that the commit lacks (caches and environments ignore themselves). Contents are compared
    byte by byte, except line endings and Git LFS, whose pointers are compared with the file's
    digest; files that other filters changed are dirty. The executable bit is not compared.
    """
    repository = find_repository(root)
    if repository is None:
        return None
    commit = _head(repository)
    if commit is None:
        return None
    try:
        with open_objects(repository, commit) as objects:
            clean = _Comparison(repository, objects, root.resolve()).is_clean(commit)
    except (UnreadableError, OSError):
        clean = False
    return Head(commit, dirty=not clean)


def origin(root: Path) -> Origin:
    """Return the origin of the repository that contains ``root``, as far as git reports it."""
    repository = find_repository(root)
    if repository is None:
        return Origin()
    folder = root.resolve().relative_to(repository.top).as_posix()
    return Origin(
        "" if folder == "." else folder, _remote(repository), cache(lambda: _roots(repository))
    )


def _remote(repository: Repository) -> str | None:
    """Return the remote ``origin``, or the only remote."""
    names = _setting(repository, "remote").split()
    name = "origin" if "origin" in names else names[0] if len(names) == 1 else None
    path = "" if name is None else _setting(repository, "config", "--get", f"remote.{name}.url")
    if not path:
        return None
    return remote_name(str((repository.top / path).resolve()) if path.startswith(".") else path)


def _roots(repository: Repository) -> tuple[str, ...]:
    """Return the root commits; none if the repository is a shallow clone."""
    commit = _head(repository)
    if commit is None:
        return ()
    found: set[str] = set()
    try:
        with open_objects(repository, commit) as objects:
            for id_, text in _commits(objects, commit, set()):
                if not parents_of(text):
                    found.add(id_)
    except UnreadableError:
        return ()
    return tuple(sorted(found))


def content(root: Path, commit: str, name: str) -> bytes | None:
    """Return a file of a commit as it was committed, without filters and line ends of a check-out.

    Args:
        root: The folder that ``name`` is relative to.
        commit: A commit's full digest.
        name: With slashes.

    Returns:
        Its bytes, or None where the commit has no such file.
    """
    repository = find_repository(root)
    if repository is None or not OBJECT_ID.fullmatch(commit):
        return None
    prefix = root.resolve().relative_to(repository.top).as_posix()
    try:
        with open_objects(repository, commit) as objects:
            path = name if prefix == "." else f"{prefix}/{name}"
            found = objects.entry(objects.tree_of(commit), path)
            if found is None or found.mode in (TREE, SUBMODULE):
                return None
            return objects.read(found.id, "blob")
    except UnreadableError:
        return None


def changed_files(root: Path, commit: str) -> tuple[str, ...] | None:
    """Return the files below ``root`` that are not as in a commit, with slashes, sorted.

    They are compared as in ``head``: a file that the commit lacks counts unless it is ignored. A
    missing folder counts as one, with a slash at its end.

    Args:
        root: The folder that the names are relative to.
        commit: A commit's full digest.

    Returns:
        The names, or None if they are unknown: there is no repository, or it lacks the commit, as
        a shallow clone may.
    """
    repository = find_repository(root)
    if repository is None or not OBJECT_ID.fullmatch(commit):
        return None
    try:
        with open_objects(repository, commit) as objects:
            return _Comparison(repository, objects, root.resolve()).changed(commit)
    except (UnreadableError, OSError):
        return None


def authors(root: Path, since: str | None, until: str) -> frozenset[str] | None:
    """Return the addresses of everyone named by the commits after ``since`` up to ``until``.

    Authors, committers and every co-author whom a message names count, wherever it does; one
    without an address counts as the whole text.

    Args:
        root: A folder of the repository.
        since: The commit before the first that counts; None counts the whole history.
        until: The last commit that counts.

    Returns:
        The addresses, or None if they are unknown: there is no repository, it is a shallow
        clone, or it lacks one of the commits or their ancestors.
    """
    repository = find_repository(root)
    if repository is None or not OBJECT_ID.fullmatch(until):
        return None
    if since is not None and not OBJECT_ID.fullmatch(since):
        return None
    try:
        with open_objects(repository, until) as objects:
            before = set() if since is None else set(_history(objects, since, set()))
            named = {
                address
                for commit in _history(objects, until, before).values()
                for address in commit
            }
    except UnreadableError:
        return None
    return frozenset(named)


def _history(objects: Objects, start: str, without: set[str]) -> dict[str, set[str]]:
    """Return a commit and its ancestors except ``without``, each with the authors that it names."""
    return {id_: authors_of(text) for id_, text in _commits(objects, start, without)}


def _commits(objects: Objects, start: str, without: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield a commit and its ancestors except ``without``; raises UnreadableError."""
    known = set(without)
    ahead = {start} - known
    while ahead:
        known |= ahead
        following = set()
        for id_, text in objects.read_all(sorted(ahead), "commit"):
            following.update(parents_of(text))
            yield id_, text
        ahead = following - known


def _head(repository: Repository) -> str | None:
    commit = _setting(repository, "rev-parse", "--verify", "--quiet", "HEAD")
    return commit if OBJECT_ID.fullmatch(commit) else None


def _setting(repository: Repository, *words: str) -> str:
    """Return the output of a git command about the repository that runs no other program."""
    words = ("--git-dir", str(repository.git_dir), *words)
    found = _git(list(words), repository.top, environment())
    return "" if found is None else found.decode("utf-8", "replace").strip()


def _git(
    words: list[str], folder: Path, variables: dict[str, str], given: bytes = b""
) -> bytes | None:
    """Return the output of git; None if it failed or is not installed."""
    try:
        done = subprocess.run(
            ["git", "--no-pager", *words],
            cwd=folder,
            env=variables,
            input=given,
            capture_output=True,
            check=False,
            timeout=TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


class _Comparison:
    """Compares the files below a folder with those of a commit."""

    def __init__(self, repository: Repository, objects: Objects, root: Path) -> None:
        self.repository, self.objects, self.root = repository, objects, root
        self.listed: list[tuple[str, Entry]] = []

    def is_clean(self, commit: str) -> bool:
        prefix = self.root.relative_to(self.repository.top).as_posix()
        tree = self.objects.tree_of(commit)
        folder = ""
        for name in () if prefix == "." else prefix.split("/"):
            if not self._ignores_as(tree, folder):
                return False
            below = self.objects.entry(tree, name)
            if below is None or below.mode != TREE:
                return False
            tree, folder = below.id, f"{folder}{name}/"
        return next(self._differing(tree, folder), None) is None and self._others() == []

    def changed(self, commit: str) -> tuple[str, ...] | None:
        """Return the names of the files below the root that differ; None if they are unknown."""
        prefix = self.root.relative_to(self.repository.top).as_posix()
        folder = "" if prefix == "." else f"{prefix}/"
        below = self.objects.entry(self.objects.tree_of(commit), folder)
        if below is None or below.mode != TREE:
            return None
        names = {name[len(folder) :] for name in self._differing(below.id, folder)}
        others = self._others()
        return None if others is None else tuple(sorted({*names, *others}))

    def _ignores_as(self, tree: str, folder: str) -> bool:
        """Return whether the ``.gitignore`` of a folder is that of the commit."""
        path = self.repository.top / folder / IGNORE
        entry = self.objects.entry(tree, IGNORE)
        return not os.path.lexists(path) if entry is None else self._is_same(path, entry)

    def _differing(self, tree: str, folder: str) -> Iterator[str]:
        """Yield the files of a tree that are missing or differ, and a ``.gitignore`` it lacks."""
        path = self.repository.top / folder
        if path.is_symlink() or not path.is_dir():
            yield folder
            return
        if not self._ignores_as(tree, folder):
            yield folder + IGNORE
        for entry in self.objects.entries(tree):
            if entry.mode == TREE:
                yield from self._differing(entry.id, f"{folder}{entry.name}/")
                continue
            self.listed.append((folder + entry.name, entry))
            if not self._is_same(path / entry.name, entry):
                yield folder + entry.name

    def _is_same(self, path: Path, entry: Entry) -> bool:
        try:
            found = path.lstat()
        except OSError:
            return False
        if entry.mode == SUBMODULE:
            return self._is_same_submodule(path, entry.id)
        if stat.S_ISLNK(found.st_mode):
            link = os.fsencode(path.readlink())
            return entry.mode == SYMLINK and self.objects.id_of("blob", link) == entry.id
        if not stat.S_ISREG(found.st_mode):
            return False
        with path.open("rb") as stream:
            parts = iter(lambda: stream.read(PART), b"")
            if self.objects.digest_of("blob", found.st_size, parts) == entry.id:
                return True
        return self._is_same_text(path, found.st_size, entry.id) or self._is_pointer(path, entry.id)

    def _is_same_text(self, path: Path, size: int, id_: str) -> bool:
        """Return whether only line endings differ, as a checkout may change them."""
        if size > TEXT_LIMIT:
            return False
        text = path.read_bytes()
        return b"\r\n" in text and self.objects.id_of("blob", text.replace(b"\r\n", b"\n")) == id_

    def _is_pointer(self, path: Path, id_: str) -> bool:
        """Return whether the commit has the Git LFS pointer of this file."""
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
        pointer = LFS_POINTER.format(digest=digest, size=size).encode()
        return self.objects.id_of("blob", pointer) == id_

    def _is_same_submodule(self, path: Path, commit: str) -> bool:
        """Return whether a submodule is not checked out, or at its commit without changes."""
        if path.is_symlink() or not path.is_dir():
            return False
        if not os.path.lexists(path / ".git"):
            return not any(path.iterdir())
        return head(path) == Head(commit, dirty=False)

    def _others(self) -> list[str] | None:
        """Return the files below the root that the commit neither has nor ignores.

        None if git failed.
        """
        lines = b"".join(
            b"%o %s\t%s\0" % (entry.mode, entry.id.encode(), os.fsencode(name))
            for name, entry in self.listed
        )
        algorithm = "sha1" if all(len(entry.id) == 40 for _, entry in self.listed) else "sha256"
        with own_repository(algorithm) as folder:
            variables = environment(GIT_DIR=str(folder), GIT_WORK_TREE=str(self.repository.top))
            listing = ["update-index", "-z", "--index-info"]
            others = ["ls-files", "-z", "--others", f"--exclude-per-directory={IGNORE}"]
            if _git(listing, self.root, variables, lines) is None:
                return None
            found = _git(others, self.root, variables)
        return None if found is None else [os.fsdecode(name) for name in found.split(b"\0") if name]
