"""Objects of a git repository, each checked against its digest, without the repository's settings.

A build can write everything below ``.git``: settings that name programs, replaced and grafted
commits, flags of the index, and the objects themselves. So git is started on an empty repository
in a temporary folder that borrows the objects of the other one, and an object that git returns is
used only if it has the requested digest.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

OBJECT_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
TIMEOUT = 120
"""Seconds after which an unresponsive git is terminated."""
LARGEST = 200_000_000
"""Largest object that is read, in bytes; larger files are compared by digest only."""
CHUNK = 500
"""Ids per request: they fit into a pipe buffer, so that neither side blocks."""
TREE = 0o040000
SYMLINK = 0o120000
SUBMODULE = 0o160000


class UnreadableError(Exception):
    """An object is missing, has another digest or type than requested, or git failed."""


@dataclass(frozen=True)
class Repository:
    """The folders of a repository: working tree, git directory and objects."""

    top: Path
    git_dir: Path
    objects: Path


@dataclass(frozen=True)
class Entry:
    """One line of a tree."""

    name: str
    mode: int
    id: str


def find_repository(root: Path) -> Repository | None:
    """Return the repository whose working tree holds ``root``, by the nearest ``.git`` upwards."""
    root = root.resolve()
    if not root.is_dir():
        return None
    for top in (root, *root.parents):
        marker = top / ".git"
        if not os.path.lexists(marker):
            continue
        try:
            folder = marker if marker.is_dir() else top / _pointer(marker)
            common = folder / "commondir"
            shared = folder / common.read_text().strip() if common.is_file() else folder
        except (OSError, ValueError):
            return None
        return Repository(top, folder, shared / "objects")
    return None


def _pointer(marker: Path) -> str:
    """Return the git directory that the ``.git`` file of a submodule or worktree names."""
    word, _, place = marker.read_text().strip().partition(" ")
    if word != "gitdir:":
        raise ValueError
    return place


def environment(**more: str) -> dict[str, str]:
    """Return the environment for git: no variable redirects it, no user configuration is read."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return plain | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_GRAFT_FILE": os.devnull,
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_ATTR_NOSYSTEM": "1",
        "LC_ALL": "C",
        **more,
    }


class Objects:
    """Reads objects of one repository; see ``open_objects``."""

    def __init__(self, process: subprocess.Popen[bytes], algorithm: str) -> None:
        self._algorithm = algorithm
        assert process.stdin is not None
        assert process.stdout is not None
        self._asks: IO[bytes] = process.stdin
        self._answers: IO[bytes] = process.stdout

    def read(self, id_: str, kind: str) -> bytes:
        """Return the content of an object; raises UnreadableError."""
        return next(self.read_all([id_], kind))[1]

    def read_all(self, ids: Iterable[str], kind: str) -> Iterator[tuple[str, bytes]]:
        """Yield each id with its content; raises UnreadableError at the first one that differs."""
        wanted = list(ids)
        for start in range(0, len(wanted), CHUNK):
            some = wanted[start : start + CHUNK]
            if not all(OBJECT_ID.fullmatch(id_) for id_ in some):
                raise UnreadableError("that is no object's id")
            try:
                self._asks.write("".join(f"{id_}\n" for id_ in some).encode())
                self._asks.flush()
                for id_ in some:
                    yield id_, self._answer(id_, kind)
            except (OSError, ValueError) as error:
                raise UnreadableError(str(error)) from None

    def _answer(self, id_: str, kind: str) -> bytes:
        header = self._answers.readline().decode("ascii", "replace").split()
        if len(header) != 3 or header[:2] != [id_, kind] or int(header[2]) > LARGEST:
            raise UnreadableError(f"{id_}: {' '.join(header[1:]) or 'git ended'}")
        content = self._answers.read(int(header[2]))
        self._answers.read(1)
        if self.id_of(kind, content) != id_:
            raise UnreadableError(f"{id_}: its content is another one")
        return content

    def id_of(self, kind: str, content: bytes) -> str:
        """Return the id that git gives to this content."""
        return self.digest_of(kind, len(content), [content])

    def digest_of(self, kind: str, size: int, parts: Iterable[bytes]) -> str:
        """Return the id of content that comes in chunks, with this total size."""
        total = hashlib.new(self._algorithm, f"{kind} {size}\0".encode(), usedforsecurity=False)
        for part in parts:
            total.update(part)
        return total.hexdigest()

    def tree_of(self, commit: str) -> str:
        """Return the id of a commit's tree; raises UnreadableError."""
        first = self.read(commit, "commit").partition(b"\n")[0].split()
        if len(first) != 2 or first[0] != b"tree":
            raise UnreadableError(f"{commit} has no tree")
        return first[1].decode("ascii", "replace")

    def entries(self, tree: str) -> list[Entry]:
        """Return the lines of a tree; raises UnreadableError."""
        content, found, width = self.read(tree, "tree"), [], len(tree) // 2
        while content:
            head, _, rest = content.partition(b"\0")
            mode, _, name = head.partition(b" ")
            try:
                entry = Entry(os.fsdecode(name), int(mode, 8), rest[:width].hex())
            except ValueError:
                raise UnreadableError(f"{tree} is no tree") from None
            if entry.name in ("", ".", "..") or "/" in entry.name:
                raise UnreadableError(f"{tree} names {entry.name!r}")
            found.append(entry)
            content = rest[width:]
        return found

    def entry(self, tree: str, path: str) -> Entry | None:
        """Return the entry of a tree at a path with slashes; None if there is none."""
        found = Entry("", TREE, tree)
        for name in filter(None, path.split("/")):
            if found.mode != TREE:
                return None
            known = {entry.name: entry for entry in self.entries(found.id)}
            if name not in known:
                return None
            found = known[name]
        return found


@contextmanager
def open_objects(repository: Repository, id_: str) -> Iterator[Objects]:
    """Yield a reader of the objects of a repository whose ids are as long as ``id_``.

    Raises:
        UnreadableError: git is not installed.
    """
    algorithm = "sha1" if len(id_) == 40 else "sha256"
    with own_repository(algorithm) as folder:
        variables = environment(
            GIT_DIR=str(folder), GIT_OBJECT_DIRECTORY=str(repository.objects.resolve())
        )
        try:
            process = subprocess.Popen(
                ["git", "cat-file", "--batch"],
                env=variables,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise UnreadableError(str(error)) from None
        timer = threading.Timer(TIMEOUT, process.kill)
        timer.daemon = True
        timer.start()
        try:
            yield Objects(process, algorithm)
        finally:
            timer.cancel()
            process.kill()
            process.communicate()


@contextmanager
def own_repository(algorithm: str) -> Iterator[Path]:
    """Yield the folder of an empty repository, with no settings but those that git needs."""
    with tempfile.TemporaryDirectory(prefix="ml-pipeline-git-") as name:
        folder = Path(name)
        (folder / "objects").mkdir()
        (folder / "refs").mkdir()
        (folder / "HEAD").write_text("ref: refs/heads/none\n")
        version = "0" if algorithm == "sha1" else "1"
        extension = "" if algorithm == "sha1" else "[extensions]\n\tobjectFormat = sha256\n"
        (folder / "config").write_text(
            f"[core]\n\trepositoryFormatVersion = {version}\n\tbare = false\n"
            f"\tfsmonitor = false\n\thooksPath = {os.devnull}\n\texcludesFile = {os.devnull}\n"
            f"\tattributesFile = {os.devnull}\n\tprecomposeUnicode = true\n{extension}"
        )
        yield folder
