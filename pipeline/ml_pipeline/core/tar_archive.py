"""Entries of tar archives that depend on their content alone: dated at the epoch, owned by root."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path


def add_folder(
    archive: tarfile.TarFile, name: str, mode: int, *, owner: int = 0, mtime: int = 0
) -> None:
    """Add an empty folder; ``owner`` is the number of its user and group."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, owner, owner
    entry.mtime = mtime
    archive.addfile(entry)


def add_bytes(
    archive: tarfile.TarFile, name: str, content: bytes, mode: int, *, owner: int = 0
) -> None:
    """Add a file with this content."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.uid, entry.gid = len(content), mode, owner, owner
    archive.addfile(entry, io.BytesIO(content))


def add_read_only(archive: tarfile.TarFile, name: str, folder: Path, files: Iterable[str]) -> None:
    """Add a read-only folder with these files of ``folder``."""
    add_folder(archive, name, 0o555)
    for file in sorted(files):
        entry = tarfile.TarInfo(f"{name}/{file}")
        entry.size, entry.mode = (folder / file).stat().st_size, 0o444
        with (folder / file).open("rb") as content:
            archive.addfile(entry, content)
