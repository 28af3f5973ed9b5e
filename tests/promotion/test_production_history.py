from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home
from ml_pipeline.promotion.production_history import (
    DATA_TAG,
    Replacement,
    history,
    profile_of,
    read_history,
)
from ml_pipeline.registry.versions import Version


class TestReplacement:
    def test_of_a_file_comes_back(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("old")
        replacement = Replacement(path, b"new")
        replacement.do()
        assert path.read_text() == "new"
        replacement.undo()
        assert path.read_text() == "old"

    def test_of_no_file_goes(self, tmp_path: Path) -> None:
        replacement = Replacement(tmp_path / "folder/file", b"new")
        replacement.do()
        replacement.undo()
        assert not (tmp_path / "folder/file").exists()

    def test_that_was_not_made_is_not_taken_back(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("old")
        Replacement(path, b"new").undo()
        assert path.read_text() == "old"


def version(fingerprint: str) -> Version:
    return Version("small", 1, "a", "b", {DATA_TAG: fingerprint})


class TestProfileOf:
    def test_the_data_of_the_model(self, tmp_path: Path) -> None:
        path = tmp_path / "profile.json"
        path.write_text(json.dumps({"fingerprint": "f"}))
        assert profile_of(version("f"), path) == path
        assert profile_of(version("other"), path) is None
        assert profile_of(version("f"), None) is None

    def test_a_version_that_names_no_data(self, tmp_path: Path) -> None:
        path = tmp_path / "profile.json"
        path.write_text(json.dumps({}))
        assert profile_of(Version("small", 1, "a", "b"), path) is None

    @pytest.mark.parametrize("text", ["", "[]", "{}", "no"])
    def test_what_is_no_profile(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "profile.json"
        path.write_text(text)
        assert profile_of(version("f"), path) is None

    def test_no_file(self, tmp_path: Path) -> None:
        assert profile_of(version("f"), tmp_path / "none") is None


class TestHistory:
    def test_is_empty_before_the_first(self, tmp_path: Path) -> None:
        assert read_history(Home(tmp_path)) == []

    def test_a_broken_line_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "history.jsonl").write_text('{"at": 1}\n')
        with pytest.raises(EnvironmentFault, match=r"history\.jsonl:1 is broken"):
            read_history(Home(tmp_path))

    def test_what_is_no_text_is_named_and_what_is_no_file_too(self, tmp_path: Path) -> None:
        (tmp_path / "history.jsonl").write_bytes(b"\xff\xfe{}\n")
        with pytest.raises(EnvironmentFault, match=r"history\.jsonl:1 is broken: it is not UTF-8"):
            read_history(Home(tmp_path))
        (tmp_path / "history.jsonl").unlink()
        (tmp_path / "history.jsonl").mkdir()
        with pytest.raises(EnvironmentFault, match=r"cannot read .*history\.jsonl"):
            read_history(Home(tmp_path))

    def test_unusual_ends_of_lines_in_a_reason_end_no_line(self, three: Any) -> None:
        entry = read_history(three.home)[-1]
        odd = entry.model_copy(update={"reason": "a\u2028b\x85c\x1cd\re"})
        history(three.home, odd).do()
        assert read_history(three.home)[-1] == odd
