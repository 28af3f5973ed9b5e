"""A prediction log of servers elsewhere, as a tar of its folder."""

import io
import tarfile

import pytest
from ml_pipeline.config import PredictionLogSection, ServingSection
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.targets.copy_prediction_log import bring

SERVING = ServingSection()


def archive(files, chunk=1000, kind=tarfile.REGTYPE):
    """A tar of a folder, in pieces."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        folder = tarfile.TarInfo("predictions")
        folder.type = tarfile.DIRTYPE
        made.addfile(folder)
        for name, content in files.items():
            entry = tarfile.TarInfo(f"predictions/{name}")
            entry.size, entry.mtime, entry.type = len(content), 1000, kind
            entry.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
            made.addfile(entry, io.BytesIO(content))
    content = stream.getvalue()
    return iter([content[at : at + chunk] for at in range(0, len(content), chunk)])


def log_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_its_files_are_copied_for_their_owner_alone(tmp_path):
    folder = tmp_path / "predictions/production"
    bring(archive({"1.jsonl": b"a\n" * 3000, "2.jsonl": b"b\n"}), folder, SERVING)
    assert log_files(folder) == {"1.jsonl": b"a\n" * 3000, "2.jsonl": b"b\n"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mtime for path in folder.iterdir()} == {1000}


def test_what_grew_is_copied_again_and_nothing_else(tmp_path):
    bring(archive({"1.jsonl": b"a\n", "2.jsonl": b"b\n"}), tmp_path, SERVING)
    first = (tmp_path / "1.jsonl").stat().st_ino
    bring(archive({"1.jsonl": b"a\n", "2.jsonl": b"b\nc\n"}), tmp_path, SERVING)
    assert log_files(tmp_path) == {"1.jsonl": b"a\n", "2.jsonl": b"b\nc\n"}
    assert (tmp_path / "1.jsonl").stat().st_ino == first


def test_no_more_files_stay_than_are_kept(tmp_path):
    serving = ServingSection(prediction_log=PredictionLogSection(keep=2))
    bring(archive({"1.jsonl": b"a\n", "2.jsonl": b"b\n"}), tmp_path, serving)
    bring(archive({"2.jsonl": b"b\n", "3.jsonl": b"c\n"}), tmp_path, serving)
    assert set(log_files(tmp_path)) == {"2.jsonl", "3.jsonl"}


@pytest.mark.parametrize("name", ["../../escape.jsonl", "/tmp/escape.jsonl", "x.sh", ".jsonl.x"])
def test_nothing_is_written_outside_and_nothing_else_is_taken(tmp_path, name):
    folder = tmp_path / "a/b"
    bring(archive({name: b"a\n"}), folder, SERVING)
    assert {path.name for path in tmp_path.rglob("*")} <= {"a", "b", "escape.jsonl"}
    assert not (tmp_path / "escape.jsonl").exists()


def test_links_are_left_out(tmp_path):
    bring(archive({"1.jsonl": b""}, kind=tarfile.SYMTYPE), tmp_path, SERVING)
    assert log_files(tmp_path) == {}


def test_an_archive_that_breaks_off_is_told_and_leaves_whole_files(tmp_path):
    pieces = list(archive({"1.jsonl": b"a\n", "2.jsonl": b"b\n" * 4000}))
    with pytest.raises(EnvironmentFault, match="prediction log cannot be copied to"):
        bring(iter(pieces[:5]), tmp_path, SERVING)
    assert log_files(tmp_path) == {"1.jsonl": b"a\n"}
