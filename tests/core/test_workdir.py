"""Artefacts are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import workdir


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
