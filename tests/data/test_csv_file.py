from __future__ import annotations

import csv
import gzip
import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_pipeline.core.errors import PipelineError, Refused, UsageError
from ml_pipeline.data.csv_file import read_csv


def test_plain_and_gzip_files_read_alike(tmp_path):
    text = "name,value\nNA,1.5\nb,\n"
    plain, packed = tmp_path / "a.csv", tmp_path / "a.csv.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    frame = read_csv(plain, ",", text={"name"}).frame
    assert frame.equals(read_csv(packed, ",", text={"name"}).frame)
    assert frame["name"].tolist() == ["NA", "b"]
    assert frame["value"].isna().tolist() == [False, True]


def test_a_text_column_keeps_leading_zeros_and_missing_value_markers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("code,n\n007,1\nTrue,2\nnan,3\n,4\n")
    assert read_csv(path, ",", text={"code"}).frame["code"].fillna("?").tolist() == [
        "007",
        "True",
        "nan",
        "?",
    ]


def test_numbers_are_read_exactly(tmp_path):
    path = tmp_path / "a.csv"
    values = [0.1 + 0.2, 1e-300, 123456789.123456789]
    path.write_text("n\n" + "\n".join(map(repr, values)) + "\n")
    assert read_csv(path, ",").frame["n"].tolist() == values


def test_a_byte_order_mark_is_not_part_of_the_first_column_name(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    assert list(read_csv(path, ",").frame.columns) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        ("a.csv", b"", Refused, "is empty"),
        ("a.csv", b"a;b;c\n1;2;3\n", UsageError, "set separator to ';'"),
        ("a.csv", b"a,b\n1,\xff\xfe\n", UsageError, "not UTF-8 text: byte 0xff"),
        ("a.csv", b"a,\xff\n1,2\n", UsageError, "not UTF-8 text: byte 0xff"),
        ("a.csv.gz", b"a,b\n1,2\n", UsageError, "its content is not .gz"),
        ("a.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 999)[:-9], UsageError, "cannot read"),
        ("a.csv", b"a,b\n1,2,3\n4,5,6\n", UsageError, "longer than its header"),
        ("a.csv", b"a,b,a\n1,2,3\n", UsageError, "more than one column 'a'"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line(tmp_path, name, content, kind, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PipelineError) as caught:
        read_csv(path, ",")
    assert type(caught.value) is kind
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_csv(tmp_path / "none.csv", ",")
    with pytest.raises(UsageError, match="directory"):
        read_csv(tmp_path, ",")


HEADER = b"id,age,plan,y\n"
ROWS = [b"c%d,%d,pro,1\n" % (number, 20 + number) for number in range(10)]
"""Line 2 holds c0, line 11 holds c9."""


def text_with(line: bytes, number: int = 5) -> bytes:
    """Return ten rows, the one in line ``number`` replaced."""
    rows = list(ROWS)
    rows[number - 2] = line
    return HEADER + b"".join(rows)


def read(tmp_path, content: bytes, **options):
    path = tmp_path / options.pop("name", "a.csv")
    path.write_bytes(content)
    return read_csv(path, options.pop("separator", ","), {"id", "plan"}, **options)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"c3,23\n", "2 fields, the header has 4"),
        (b"c3,23,pro,1,9\n", "5 fields, the header has 4"),
        (b"c3;23;pro;1\n", "1 field, the header has 4; its separator is ';'"),
        (b"c3\t23\tpro\t1\n", "1 field, the header has 4; its separator is '\\t'"),
        (b'c3,"23,pro,1\n', "an unclosed quote"),
        (b'"c3,23,pro,1\n', "an unclosed quote"),
        (b'c3,23,"a" b,1\n', "a quote inside an unquoted cell"),
        (b"c3,2\x003,pro,1\n", "a NUL byte"),
        (HEADER, "a repeated header"),
    ],
)
def test_an_unreadable_line_is_reported_with_its_number(tmp_path, line, reason):
    rows = read(tmp_path, text_with(line))
    assert [(bad.row, bad.line, bad.reason) for bad in rows.unread] == [(3, 5, reason)]
    assert rows.frame["id"].tolist() == [f"c{n}" for n in range(10) if n != 3]
    assert [rows.place(row) for row in rows.frame.index[2:4]] == ["line 4", "line 6"]
    assert rows.count == 10


def test_each_line_enclosed_by_a_stray_quote_is_unreadable(tmp_path):
    rows = [*ROWS[:3], b'c3,23,"pro,1\n', *ROWS[4:7], b'c7,27,pro",1\n', *ROWS[8:]]
    result = read(tmp_path, HEADER + b"".join(rows))
    assert [bad.line for bad in result.unread] == [5, 6, 7, 8, 9]
    assert {bad.reason for bad in result.unread} == {
        "inside a quoted cell that opens in line 5 and closes in line 9"
    }
    assert result.frame["id"].tolist() == ["c0", "c1", "c2", "c8", "c9"]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (b'"two\nlines"', "two\nlines"),
        (b'"one, two,\nthree, four\n\nand five"', "one, two,\nthree, four\n\nand five"),
        (b'"say ""hi"""', 'say "hi"'),
        (b'5" pipe', '5" pipe'),
        (b'"a,b"', "a,b"),
        (b'"a\r\nb"', "a\nb"),
    ],
)
def test_a_row_that_rfc_4180_allows_is_read(tmp_path, cell, value):
    rows = read(tmp_path, text_with(b"c3,23," + cell + b",1\n"))
    assert not rows.unread
    assert rows.frame["plan"].tolist()[3] == value
    assert rows.frame["id"].tolist() == [f"c{n}" for n in range(10)]
    assert rows.place(9) == f"line {11 + value.count(chr(10))}"


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda text: text.replace(b"\n", b"\r\n"), None),
        (lambda text: text.replace(b"\n", b"\r"), None),
        (lambda text: HEADER.replace(b"\n", b"\r\n") + b"".join(ROWS), None),
        (lambda text: text[:-1], None),
        (lambda text: b"sep=,\r\n" + text, None),
        (lambda text: text + b"\n\n", None),
        (lambda text: b"\xef\xbb\xbf" + text, None),
        (lambda text: text.decode().encode("utf-16"), None),
        (lambda text: text.decode().encode("utf-32"), None),
        (lambda text: text.replace(b"\n", b"\n\n", 3), "3 blank lines are left out"),
        (lambda text: text.replace(b"\n", b",\n"), "column 5 has no name and is left out (it is"),
        (lambda text: HEADER + b"".join(ROWS).replace(b"\n", b",\n"), "column 5 has no name"),
        (
            lambda text: b"," + HEADER + b"".join(b"7," + row for row in ROWS),
            "column 1 has no name and is left out",
        ),
        (lambda text: text.replace(b"id,age", b" id ,\xc2\xa0age"), None),
    ],
)
def test_line_endings_and_trailing_separators_do_not_change_the_rows(tmp_path, change, note):
    content = HEADER + b"".join(ROWS)
    rows = read(tmp_path, change(content), name="b.csv")
    pd.testing.assert_frame_equal(rows.frame, read(tmp_path, content).frame)
    assert not rows.unread
    if note is None and rows.notes:
        assert rows.notes == ("1 blank line is left out",)
    else:
        assert [text[: len(note or "")] for text in rows.notes] == ([note] if note else [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            HEADER + b"".join(b"7," + row for row in ROWS),
            "the header has 4 fields, most lines have 5: its rows are longer than its header",
        ),
        (b"Sales of May\n\n" + HEADER + b"".join(ROWS), "remove the lines above the column names"),
        (b"sep=;\n" + HEADER, "set separator to ';'"),
        (b"a, a\n1,2\n", "more than one column 'a'"),
    ],
)
def test_a_header_that_does_not_match_most_lines_is_refused(tmp_path, content, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        read(tmp_path, content)


def test_na_values_apply_to_text_columns_too(tmp_path):
    rows = read(tmp_path, text_with(b"c3,-,-,1\n"), na_values=["-"])
    assert rows.frame.isna().sum().to_dict() == {"id": 0, "age": 1, "plan": 1, "y": 0}
    assert rows.frame["age"].dtype == "float64"


CELL = st.text(alphabet='ab ,;"\n\u00e9', max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(CELL, CELL, CELL), max_size=8),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_every_written_record_is_read_or_reported(tmp_path_factory, rows, quoting):
    """Output of the csv module is read back, unless a quoted cell has lines that are valid rows."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, quoting=quoting, lineterminator="\n").writerows([("x", "y", "z"), *rows])
    read_back = read_csv(path, ",", {"x", "y", "z"})
    kept = [tuple(cell or None for cell in row) for row in rows]
    result = [
        tuple(None if pd.isna(cell) else cell for cell in row)
        for row in read_back.frame.itertuples(index=False)
    ]
    if not read_back.unread:
        assert result == kept
    else:
        assert {line.reason[:20] for line in read_back.unread} == {"inside a quoted cell"}
        assert set(result) <= set(kept)


def test_a_quoted_line_break_in_a_file_of_two_columns_is_text(tmp_path):
    lines = [b'%d,"hello %d\nplease, call"\n' % (number, number) for number in range(20)]
    rows = read(tmp_path, b"n,plan\n" + b"".join(lines))
    assert not rows.unread
    assert rows.frame["plan"].tolist()[7] == "hello 7\nplease, call"


def test_a_second_header_with_another_column_order_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('customer,age\nc1,30\n"age",customer\n40,c2\n')
    with pytest.raises(
        UsageError, match=r"second header in line 3, with another column order \(age, customer\)"
    ):
        read_csv(path, ",")


def test_a_cell_that_equals_a_column_name_is_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("customer,age\ncustomer,30\nx customer,40\n")
    assert read_csv(path, ",", {"customer"}).frame["customer"].tolist() == [
        "customer",
        "x customer",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"id", "age"\n"a", 1\n', "blanks between its separators and its quotes"),
        ("id||age\na||1\n", "one-character separator"),
        ("id   age\na    1\n", "one-character separator"),
    ],
)
def test_another_separator_is_refused_with_the_setting(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_csv(path, ",")


def test_a_repeated_header_after_a_byte_order_mark_is_unreadable(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfid,age\na,1\n\xef\xbb\xbfid,age\nb,2\n")
    read = read_csv(path, ",", {"id"})
    assert read.frame["age"].tolist() == [1, 2]
    assert [line.reason for line in read.unread] == ["a repeated header after a byte order mark"]
