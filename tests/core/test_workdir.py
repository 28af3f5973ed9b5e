"""Artefacts are written whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ml_pipeline.core import workdir


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    workdir.write_text(target, "old")
    with pytest.raises(OSError, match="disk"), workdir.atomic_path(target) as temporary:
        temporary.write_text("half")
        raise OSError(28, "disk full")
    assert target.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with workdir.atomic_folder(target) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), workdir.atomic_folder(target) as folder:
        (folder / "a").write_text("half")
        raise KeyboardInterrupt
    assert (target / "a").read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with workdir.atomic_folder(tmp_path / "bundle") as folder:
            (folder / name).write_text(name)
    assert [item.name for item in (tmp_path / "bundle").iterdir()] == ["second"]


def test_the_digest_of_a_folder_depends_on_names_and_content(tmp_path: Path) -> None:
    def digest_of(name: str, content: str) -> str:
        folder = tmp_path / f"{name}-{content}"
        folder.mkdir()
        (folder / name).write_text(content)
        return workdir.digest(folder)

    assert len({digest_of("a", "x"), digest_of("b", "x"), digest_of("a", "y")}) == 3


class TestScratch:
    def test_is_removed_afterwards(self, tmp_path: Path) -> None:
        with workdir.scratch(tmp_path, ".fetched-") as folder:
            (folder / "a").touch()
            assert folder.name.startswith(".fetched-")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_of_a_killed_process_is_removed(self, tmp_path: Path) -> None:
        left = tmp_path / ".fetched-abc"
        (left / "bundle").mkdir(parents=True)
        (tmp_path / "other").mkdir()
        with workdir.scratch(tmp_path, ".fetched-"):
            assert not left.exists()
            assert (tmp_path / "other").exists()

    def test_a_folder_in_use_is_kept(self, tmp_path: Path) -> None:
        with (
            workdir.scratch(tmp_path, ".fetched-") as one,
            workdir.scratch(tmp_path, ".fetched-") as other,
        ):
            assert one.exists()
            assert other.exists()
            assert one != other

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        kept = tmp_path / "kept"
        kept.mkdir()
        (tmp_path / ".fetched-link").symlink_to(kept)
        with workdir.scratch(tmp_path, ".fetched-"):
            assert kept.exists()

    def test_the_next_process_removes_the_folder_of_a_killed_one(self, tmp_path: Path) -> None:
        code = "import os, sys; from pathlib import Path; from ml_pipeline.core import workdir\n"
        code += "with workdir.scratch(Path(sys.argv[1]), '.fetched-'): os.kill(os.getpid(), 9)"
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
        assert len(list(tmp_path.glob(".fetched-*"))) == 1
        with workdir.scratch(tmp_path, ".fetched-") as folder:
            assert list(tmp_path.glob(".fetched-*")) == [folder]
