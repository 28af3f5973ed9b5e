"""Tar archives: entries that depend on their content alone, and reading of a streamed archive.

Entries are dated at the epoch and owned by root.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


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


def open_stream(chunks: Iterable[bytes]) -> tarfile.TarFile:
    """Open an archive that comes in chunks, for reading its entries in their order.

    Raises:
        tarfile.TarError: the chunks are no archive.
    """
    return tarfile.open(fileobj=io.BufferedReader(_ChunkStream(chunks)), mode="r|")


class _ChunkStream(io.RawIOBase):
    """A readable stream of chunks of bytes."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
