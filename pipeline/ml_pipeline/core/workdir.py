"""The working folder of a run, ``build/ml``: artefacts, atomic writes and digests."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ("reports", "junit", "data", "model", "bundle", "pages")


@dataclass(frozen=True)
class Workdir:
    """The working folder of a project; it may be deleted at any time and is created when needed."""

    root: Path

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def name_of(self, path: Path) -> str:
        """Return the path as in reports: relative to the working folder, with slashes."""
        return path.relative_to(self.root).as_posix()

    def make(self) -> None:
        """Create the folders. A ``.gitignore`` in it excludes them from git."""
        for folder in FOLDERS:
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        ignored = self.root / ".gitignore"
        if not ignored.exists():
            ignored.write_text("*\n")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's sorted (name, SHA-256) pairs, as hex."""
    total = hashlib.sha256()
    if path.is_dir():
        for file in sorted(item for item in path.rglob("*") if item.is_file()):
            total.update(f"{file.relative_to(path).as_posix()}\0{digest(file)}\n".encode())
        return total.hexdigest()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return total.hexdigest()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the name only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield a temporary folder below ``parent``; those left by killed processes are removed.

    The process that made it holds a lock on it; a folder without a lock is a leftover.
    """
    for left in parent.glob(f"{prefix}*"):
        _remove_unless_held(left)
    folder = Path(tempfile.mkdtemp(prefix=f".new{prefix}", dir=parent))
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        named = parent / f"{prefix}{folder.name.removeprefix(f'.new{prefix}')}"
        folder.rename(named)
        folder = named
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _remove_unless_held(folder: Path) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # another process works in it
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def write_text(path: Path, content: str) -> Path:
    """Write a UTF-8 file atomically."""
    return write_bytes(path, content.encode())


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; it replaces ``path`` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
            path.replace(old / path.name)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
