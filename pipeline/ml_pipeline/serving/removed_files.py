"""The list of files that were removed from a prediction log, beside them in its folder.

Whoever removes a file (the server's rotation, the copying of remote logs) first adds it to the
list. A reader so knows of files that it has not read to the end, or never saw.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

NAME = "removed-files.txt"
MAX_FILES = 4096
"""Beyond it the older half of the list is dropped."""
TAIL_BYTES = 1 << 20


class RemovedFile(NamedTuple):
    """A file that was removed."""

    file: str
    bytes: int
    """Of its finished lines; 0 for an archive, which is removed only after it was read."""


def remove(path: Path) -> None:
    """Remove a file of a prediction log and add it to the list; a missing file is no error.

    Raises:
        OSError: the list cannot be written, or the file cannot be removed.
    """
    try:
        finished = finished_bytes(path) if path.suffix == ".jsonl" else 0
    except FileNotFoundError:
        return
    removed = [RemovedFile(path.name, finished)]
    try:
        add(path.parent, removed)
    except OSError:  # perhaps a full disk, where the removal makes room
        path.unlink(missing_ok=True)
        add(path.parent, removed)
    else:
        path.unlink(missing_ok=True)


def finished_bytes(path: Path) -> int:
    """Return the bytes of a file up to the end of its last finished line."""
    with path.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - TAIL_BYTES)
            stream.seek(start)
            place = stream.read(end - start).rfind(b"\n")
            if place >= 0:
                return start + place + 1
            end = start
    return 0


def add(folder: Path, removed: Iterable[RemovedFile]) -> None:
    """Add files to the list.

    Raises:
        OSError: it cannot be written.
    """
    lines = [f"{one.file} {one.bytes}\n" for one in removed]
    if not lines:
        return
    with _locked(folder) as file:
        known = _lines(os.pread(file, os.fstat(file).st_size, 0).decode())
        new = [line for line in lines if line.rstrip("\n") not in known]
        if len(known) + len(new) <= MAX_FILES:
            os.write(file, "".join(new).encode())
            return
        kept = [*(f"{line}\n" for line in known), *new][-MAX_FILES // 2 :]
        os.ftruncate(file, 0)
        os.write(file, "".join(kept).encode())


def removed_files(folder: Path) -> list[RemovedFile]:
    """Return the list, oldest first; empty if nothing was removed."""
    try:
        with (folder / NAME).open("rb") as stream:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(stream, fcntl.LOCK_SH)
            content = stream.read().decode()
    except FileNotFoundError:
        return []
    return parse(content)


def parse(content: str) -> list[RemovedFile]:
    """Return the files of a list; a damaged line is left out."""
    found: dict[str, RemovedFile] = {}
    for line in _lines(content):
        name, _, size = line.rpartition(" ")
        if name and size.isdecimal():
            known = found.pop(name, RemovedFile(name, 0))
            found[name] = RemovedFile(name, max(known.bytes, int(size)))
    return list(found.values())


def _lines(content: str) -> dict[str, None]:
    return dict.fromkeys(line for line in content.splitlines() if line)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
    file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)
