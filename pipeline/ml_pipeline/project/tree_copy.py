"""The copy of a project's tree that its own code runs in.

The copy holds the project's files as they are, tracked or not, so that tests, conftest files,
relative paths and git work there and may write. It has neither files of the pipeline (working
folder, home) nor byte code. Large files share the original's blocks where the file system supports
it, and are links otherwise; environments, git's objects and stores of large files are linked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Collection
from pathlib import Path

LARGE = 32 << 20
"""Size from which a file is cloned or linked, if links cannot be written through."""
CACHES = frozenset({"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"})
ENVIRONMENTS = frozenset({"node_modules"})
STORES = frozenset({".git/lfs", ".git/annex", ".dvc/cache"})
"""Folders of tools that store large files."""
MAX_SIBLINGS = 2000
"""Entries of a folder above the project up to which they are linked."""
FICLONE = 0x40049409
"""Linux's ioctl that lets a file share another one's blocks until one of them is written."""


def copy_tree(root: Path, folder: Path, without: Collection[Path], *, link_large: bool) -> Path:
    """Copy the project at ``root`` into ``folder`` and return where its copy lies.

    The folders above, up to the parent of the git repository, are created too; their other entries
    are linked, so that ``../data`` is found.

    Args:
        root: the project's folder.
        folder: an empty one.
        without: files and folders that are left out.
        link_large: whether large files may be links to the original.

    Raises:
        OSError: the copy cannot be written.
    """
    origin = root.resolve()
    top = _repository(origin)
    base = top.parent
    # the copy itself too, where TMPDIR lies in the project
    left_out = frozenset(path.resolve() for path in (*without, folder))
    copy = folder / origin.relative_to(base)
    copier = _Copier(origin, copy, left_out, link_large)
    above, here = base, folder
    for part in origin.relative_to(base).parts:
        here.mkdir(exist_ok=True)
        _link_siblings(above, here, part)
        if above == top:
            _git_folder(copier, above / ".git", here / ".git")
        above, here = above / part, here / part
    copier.folder(origin, copy)
    return copy


def _repository(root: Path) -> Path:
    """Return the git repository of the project, or the project itself if there is none."""
    return next((path for path in (root, *root.parents[:-1]) if (path / ".git").exists()), root)


def _link_siblings(above: Path, here: Path, part: str) -> None:
    try:
        names = [path.name for path in above.iterdir() if path.name not in (part, ".git")]
    except OSError:
        return  # this user cannot list it
    if len(names) <= MAX_SIBLINGS:
        for name in names:
            (here / name).symlink_to(above / name)


def _git_folder(copier: _Copier, source: Path, target: Path) -> None:
    if source.is_dir():
        copier.folder(source, target)
    elif source.is_file():
        shutil.copy2(source, target)


class _Copier:
    """Copies folders of one project."""

    def __init__(self, root: Path, copy: Path, left_out: frozenset[Path], link: bool) -> None:
        self._root = root
        self._copy = copy
        self._left_out = left_out
        self._link = link

    def folder(self, source: Path, target: Path) -> None:
        target.mkdir()
        try:
            entries = list(os.scandir(source))
        except PermissionError:
            return  # nor could the code read it in place
        names = {entry.name for entry in entries}
        is_git = {"HEAD", "objects", "refs"} <= names
        for entry in entries:
            path, to = Path(entry.path), target / entry.name
            if path in self._left_out or entry.name in CACHES:
                continue
            if entry.is_symlink():
                to.symlink_to(self._link_target(path))
            elif is_git and entry.name == "objects":
                _borrow_objects(path, to)
            elif entry.is_dir():
                if _is_linked(path):
                    to.symlink_to(path)
                else:
                    self.folder(path, to)
            elif entry.is_file():
                self._file(path, to, entry.stat().st_size)
        shutil.copystat(source, target)
        target.chmod(target.stat().st_mode | 0o700)

    def _file(self, source: Path, target: Path, size: int) -> None:
        try:
            if size < LARGE or not _share_blocks(source, target):
                if size >= LARGE and self._link:
                    target.symlink_to(source)
                    return
                shutil.copyfile(source, target)
            shutil.copystat(source, target)
        except (FileNotFoundError, PermissionError):
            if target.parent.is_dir() and os.access(target.parent, os.W_OK):
                return  # it was removed meanwhile, or is unreadable in the original too
            raise

    def _link_target(self, link: Path) -> str:
        """Return the target of the copied link: in the copy if in the project, else absolute."""
        written = link.readlink()
        place = Path(os.path.normpath(link.parent / written))
        if place.is_relative_to(self._root):
            if written.is_absolute():
                return str(self._copy / place.relative_to(self._root))
            return str(written)
        return str(place)


def _is_linked(folder: Path) -> bool:
    stored = f"{folder.parent.name}/{folder.name}" in STORES
    return stored or folder.name in ENVIRONMENTS or (folder / "pyvenv.cfg").is_file()


def _share_blocks(source: Path, target: Path) -> bool:
    """Clone the source's blocks; return whether the file system supports it."""
    with source.open("rb") as original, target.open("wb") as clone:
        try:
            fcntl.ioctl(clone.fileno(), FICLONE, original.fileno())
        except OSError:
            shared = False
        else:
            shared = True
    if not shared:
        target.unlink()
    return shared


def _borrow_objects(source: Path, target: Path) -> None:
    """Create an empty object store of git with the original as its alternate."""
    (target / "info").mkdir(parents=True)
    (target / "pack").mkdir()
    (target / "info/alternates").write_bytes(os.fsencode(source) + b"\n")
    with contextlib.suppress(OSError):
        shutil.copyfile(source / "info/commit-graph", target / "info/commit-graph")
