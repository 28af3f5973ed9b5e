"""The prediction log of servers on another machine, as a tar of its folder."""

import io
import tarfile

import pytest
from ml_pipeline.config import PredictionLogSection, ServingSection
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.serving import removed_files
from ml_pipeline.targets.copy_prediction_log import copy_log

SERVING = ServingSection()


def archive(files, chunk=1000, kind=tarfile.REGTYPE):
    """A tar of a folder, in pieces."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive_file:
        folder = tarfile.TarInfo("predictions")
        folder.type = tarfile.DIRTYPE
        archive_file.addfile(folder)
        for name, content in files.items():
            entry = tarfile.TarInfo(f"predictions/{name}")
            entry.size, entry.mtime, entry.type = len(content), 1000, kind
            entry.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
            archive_file.addfile(entry, io.BytesIO(content))
    content = stream.getvalue()
    return iter([content[start : start + chunk] for start in range(0, len(content), chunk)])


def log_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_are_copied_readable_by_their_owner_only(tmp_path):
    folder = tmp_path / "predictions/production"
    copy_log(archive({"1.jsonl": b"a\n" * 3000, "2.jsonl": b"b\n"}), folder, SERVING)
    assert log_files(folder) == {"1.jsonl": b"a\n" * 3000, "2.jsonl": b"b\n"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mtime for path in folder.iterdir()} == {1000}


def test_only_files_that_grew_are_copied_again(tmp_path):
    copy_log(archive({"1.jsonl": b"a\n", "2.jsonl": b"b\n"}), tmp_path, SERVING)
    first = (tmp_path / "1.jsonl").stat().st_ino
    copy_log(archive({"1.jsonl": b"a\n", "2.jsonl": b"b\nc\n"}), tmp_path, SERVING)
    assert log_files(tmp_path) == {"1.jsonl": b"a\n", "2.jsonl": b"b\nc\n"}
    assert (tmp_path / "1.jsonl").stat().st_ino == first


def test_the_oldest_files_beyond_the_limit_are_removed(tmp_path):
    serving = ServingSection(prediction_log=PredictionLogSection(keep=2))
    copy_log(archive({"1.jsonl": b"a\n", "2.jsonl": b"b\n"}), tmp_path, serving)
    copy_log(archive({"2.jsonl": b"b\n", "3.jsonl": b"c\n"}), tmp_path, serving)
    assert set(log_files(tmp_path)) == {"2.jsonl", "3.jsonl", removed_files.NAME}
    assert removed_files.removed_files(tmp_path) == [("1.jsonl", 2)]


def test_only_the_new_part_of_a_file_that_grew_is_copied(tmp_path):
    """What forget removed from the former part, whose length it keeps, does not come back."""
    copy_log(archive({"1.jsonl": b"secret\n"}), tmp_path, SERVING)
    (tmp_path / "1.jsonl").write_bytes(b"      \n")
    copy_log(archive({"1.jsonl": b"secret\nnew\n"}), tmp_path, SERVING)
    assert log_files(tmp_path) == {"1.jsonl": b"      \nnew\n"}
    copy_log(archive({"1.jsonl": b"sec"}), tmp_path, SERVING)
    assert log_files(tmp_path) == {"1.jsonl": b"      \nnew\n"}, "a shorter one is not copied"


def test_the_list_of_files_removed_there_is_added_to_the_list_here(tmp_path):
    files = {removed_files.NAME: b"1.jsonl 100\ndamaged\n", "2.jsonl": b"b\n"}
    for _ in range(2):
        copy_log(archive(files), tmp_path, SERVING)
    assert removed_files.removed_files(tmp_path) == [("1.jsonl", 100)]


@pytest.mark.parametrize("name", ["../../escape.jsonl", "/tmp/escape.jsonl", "x.sh", ".jsonl.x"])
def test_nothing_is_written_outside_the_folder(tmp_path, name):
    folder = tmp_path / "a/b"
    copy_log(archive({name: b"a\n"}), folder, SERVING)
    assert {path.name for path in tmp_path.rglob("*")} <= {"a", "b", ".b.lock", "escape.jsonl"}
    assert not (tmp_path / "escape.jsonl").exists()


def test_links_are_not_copied(tmp_path):
    copy_log(archive({"1.jsonl": b""}, kind=tarfile.SYMTYPE), tmp_path, SERVING)
    assert log_files(tmp_path) == {}


def test_an_incomplete_archive_is_an_error_and_leaves_complete_files(tmp_path):
    pieces = list(archive({"1.jsonl": b"a\n", "2.jsonl": b"b\n" * 4000}))
    with pytest.raises(EnvironmentFault, match="prediction log cannot be copied to"):
        copy_log(iter(pieces[:5]), tmp_path, SERVING)
    assert log_files(tmp_path) == {"1.jsonl": b"a\n"}
