from __future__ import annotations

import gzip

import pytest

from pipeline.data.csv_file import read_csv
from pipeline.errors import PipelineError, Refused, UsageError


def test_reads_plain_and_gzip_alike(tmp_path):
    text = "name,value\nNA,1.5\nb,\n"
    plain, packed = tmp_path / "a.csv", tmp_path / "a.csv.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    frame = read_csv(plain, ",", text={"name"})
    assert frame.equals(read_csv(packed, ",", text={"name"}))
    assert frame["name"].tolist() == ["NA", "b"]
    assert frame["value"].isna().tolist() == [False, True]


def test_a_text_column_keeps_zeros_and_words_that_look_like_something_else(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("code,n\n007,1\nTrue,2\nnan,3\n,4\n")
    assert read_csv(path, ",", text={"code"})["code"].fillna("?").tolist() == [
        "007",
        "True",
        "nan",
        "?",
    ]


def test_numbers_are_read_exactly(tmp_path):
    path = tmp_path / "a.csv"
    values = [0.1 + 0.2, 1e-300, 123456789.123456789]
    path.write_text("n\n" + "\n".join(map(repr, values)) + "\n")
    assert read_csv(path, ",")["n"].tolist() == values


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    assert list(read_csv(path, ",").columns) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "kind", "says"),
    [
        ("a.csv", b"", Refused, "is empty"),
        ("a.csv", b"a;b;c\n1;2;3\n", UsageError, "set separator to ';'"),
        ("a.csv", b"a,b\n1,\xff\xfe\n", UsageError, "not UTF-8 text: byte 0xff"),
        ("a.csv", b"a,\xff\n1,2\n", UsageError, "not UTF-8 text: byte 0xff"),
        ("a.csv.gz", b"a,b\n1,2\n", UsageError, "Not a gzipped file"),
        ("a.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 999)[:-9], UsageError, "cannot read"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", UsageError, "is not a CSV file"),
        ("a.csv", b"a,b\n1,2,3\n4,5,6\n", UsageError, "longer than its header"),
        ("a.csv", b"a,b,a\n1,2,3\n", UsageError, "more than one column 'a'"),
    ],
)
def test_a_file_that_is_wrong_gives_one_line(tmp_path, name, content, kind, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PipelineError) as caught:
        read_csv(path, ",")
    assert type(caught.value) is kind
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_csv(tmp_path / "none.csv", ",")
    with pytest.raises(UsageError, match="directory"):
        read_csv(tmp_path, ",")
