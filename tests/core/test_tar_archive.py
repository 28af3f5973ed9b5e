"""Entries of an archive depend on names and content alone."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from ml_pipeline.core import tar_archive


def archived(folder: Path, files: list[str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        tar_archive.add_read_only(archive, "bundle", folder, files)
        tar_archive.add_bytes(archive, "settings.json", b"{}", 0o400, owner=65532)
        tar_archive.add_folder(archive, "scratch", 0o700, owner=65532)
    return stream.getvalue()


def write(folder: Path) -> Path:
    folder.mkdir()
    (folder / "a").write_text("1")
    (folder / "b").write_text("22")
    return folder


def test_the_bytes_depend_on_no_time_mode_or_order(tmp_path: Path) -> None:
    first, second = write(tmp_path / "first"), write(tmp_path / "second")
    os.utime(second / "a", (1, 1))
    (second / "b").chmod(0o600)
    assert archived(first, ["a", "b"]) == archived(second, ["b", "a"])


def test_files_are_read_only_and_of_the_owner(tmp_path: Path) -> None:
    content = archived(write(tmp_path / "first"), ["a", "b"])
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        found = [
            (one.name, one.isdir(), one.mode, one.uid, one.gid, one.size, one.mtime)
            for one in archive
        ]
    assert found == [
        ("bundle", True, 0o555, 0, 0, 0, 0),
        ("bundle/a", False, 0o444, 0, 0, 1, 0),
        ("bundle/b", False, 0o444, 0, 0, 2, 0),
        ("settings.json", False, 0o400, 65532, 65532, 2, 0),
        ("scratch", True, 0o700, 65532, 65532, 0, 0),
    ]
