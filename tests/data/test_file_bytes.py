"""The file format is detected by content; other formats are refused and named."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from ml_pipeline.core.errors import UsageError
from ml_pipeline.data.file_bytes import Limit, read_text

TEXT = "a,b\n1,é\n".encode()


def zipped(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("_csv", ".csv"), data)
    return content.getvalue()


PACKED = {
    ".gz": gzip.compress(TEXT),
    ".bz2": bz2.compress(TEXT),
    ".xz": lzma.compress(TEXT),
    ".zst": pa.compress(TEXT, "zstd", asbytes=True),
    ".zip": zipped(a_csv=TEXT, **{"__MACOSX/._a.csv": b"junk"}),
}


@pytest.mark.parametrize("ending", PACKED)
def test_a_compressed_file_is_decompressed(tmp_path, ending):
    path = tmp_path / f"a.csv{ending}"
    path.write_bytes(PACKED[ending])
    assert read_text(path) == TEXT
    renamed = path.rename(tmp_path / "b.csv")
    assert read_text(renamed) == TEXT


@pytest.mark.parametrize("ending", PACKED)
def test_a_truncated_or_mislabelled_compressed_file_is_refused(tmp_path, ending):
    path = tmp_path / f"a.csv{ending}"
    path.write_bytes(PACKED[ending][:-9])
    with pytest.raises(UsageError, match=f"cannot read .*a.csv{ending}"):
        read_text(path)
    path.write_bytes(TEXT)
    with pytest.raises(UsageError, match=f"its content is not {ending}"):
        read_text(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(a_csv=TEXT, b_csv=TEXT), "holds 2 files .*expected one CSV file"),
        (zipped(**{"[Content_Types].xml": b"x", "xl/workbook.xml": b"x"}), "an Excel workbook"),
        (zipped(mimetype=b"x", content=b"x"), "an OpenDocument file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook.*save its sheet as CSV"),
        (b"PAR1....", "a Parquet file.*set kind: parquet"),
        (b"SQLite format 3\x00", "a SQLite database"),
        (b"<!DOCTYPE html>\n<html>", "a web page"),
        (b'[{"a": 1}]', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x00\x01\x02\n\x03", "is not text: its first line holds U\\+0000"),
        (b"\xff\xfe\x00\x01" * 50, "is not text"),
    ],
)
def test_another_file_format_is_named(tmp_path, content, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"a.csv .*{message}"):
        read_text(path)


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (
            "a\nZürich\n".encode("cp1252"),
            None,
            "byte 0xfc in line 2.*set encoding: cp1252 .*Zürich",
        ),
        ("a\nZürich\n".encode(), "cp1252", "is UTF-8 text"),
        ("a\nZürich\n".encode("utf-8-sig"), "latin-1", "byte order mark of utf-8"),
        ("a\nb\nc\nd\n".encode("utf-16-le"), None, "set encoding: utf-16-le"),
        (b"a\n\xff\xff\n", "utf-16", "is not utf-16 text"),
    ],
)
def test_another_encoding_is_refused_with_the_setting(tmp_path, content, encoding, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_text(path, encoding)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "utf-8", "utf-8-sig"])
def test_a_configured_encoding_is_used(tmp_path, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes("a\r\nZürich\r\n".encode(encoding))
    assert read_text(path, encoding).decode() == "a\nZürich\n"


BLANK = b"a,b\n" + b"0" * 1_100_000
INFLATING = {
    ".gz": gzip.compress(BLANK),
    ".bz2": bz2.compress(BLANK),
    ".xz": lzma.compress(BLANK),
    ".zst": pa.compress(BLANK, "zstd", asbytes=True),
    ".zip": zipped(a_csv=BLANK),
}


@pytest.mark.parametrize("ending", INFLATING)
def test_a_file_that_decompresses_to_too_much_is_refused(tmp_path, ending):
    path = tmp_path / f"a.csv{ending}"
    path.write_bytes(INFLATING[ending])
    with pytest.raises(UsageError, match=r"unpacks to more than 1 MB.*data.source.max_unpacked_mb"):
        read_text(path, max_unpacked_mb=1)
    assert read_text(path, max_unpacked_mb=2) == BLANK


@pytest.mark.parametrize(
    ("limit", "size", "refused"),
    [
        (Limit(None, 1000), 60_000_000, False),
        (Limit(None, 1000), 65_000_000, True),
        (Limit(None, 1_000_000), 150_000_000, False),
        (Limit(None, 1_000_000_000), 5_000_000_000, True),
        (Limit(6000, 1000), 5_000_000_000, False),
    ],
    ids=["small", "ratio", "usual ratio", "size", "set"],
)
def test_limits_of_the_decompressed_size(tmp_path, limit, size, refused):
    try:
        limit.check(tmp_path / "a.csv.gz", size)
    except UsageError:
        assert refused
    else:
        assert not refused


def test_no_encoding_is_proposed_for_a_file_of_two_encodings(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("name\nJürgen\n".encode() + "Zoé\n".encode("cp1252"))
    with pytest.raises(UsageError, match=r"line 3 .*mixes encodings \(line 2 is UTF-8\)") as error:
        read_text(path)
    assert "set encoding" not in str(error.value)


def test_a_pipe_is_refused_without_blocking(tmp_path):
    path = tmp_path / "a.csv"
    os.mkfifo(path)
    with pytest.raises(UsageError, match="not a regular file"):
        read_text(path)


def test_a_file_that_is_written_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT)
    read = Path.read_bytes

    def read_slowly(self):
        content = read(self)
        self.write_bytes(content + b"2,x\n")
        return content

    monkeypatch.setattr(Path, "read_bytes", read_slowly)
    with pytest.raises(UsageError, match="was written while it was read"):
        read_text(path)


def test_a_workbook_is_refused_with_the_names_of_its_sheets(tmp_path):
    path = tmp_path / "a.xlsx"
    sheets = (
        '<sheets><sheet name="A &amp; B" sheetId="1"/><sheet name="2024" sheetId="2"/></sheets>'
    )
    parts = {"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": sheets.encode()}
    path.write_bytes(zipped(**parts))
    with pytest.raises(UsageError, match=r"workbook with the sheets 'A & B', '2024'.*CSV UTF-8"):
        read_text(path)
