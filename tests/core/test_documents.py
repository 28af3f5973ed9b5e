"""Documents are read within bounds, and what is beyond them is refused at once, with its line."""

import json
import os
import time
from itertools import pairwise

import pytest
import yaml
from ml_pipeline.core.documents import (
    DocumentError,
    parse_json,
    parse_yaml,
    read_json,
    read_yaml,
)

LETTERS = "abcdefghi"


def bomb(levels: int) -> str:
    """Return lists of nine aliases of the list before: 9 to the power of the levels values."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in pairwise(LETTERS[:levels]):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    return "\n".join(lines)


def merge_bomb(levels: int) -> str:
    lines = ["a: &a {x: 1}"]
    for before, name in pairwise(LETTERS[:levels]):
        lines.append(f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}]}}")
    return "\n".join(lines)


YAML = {
    "aliases of aliases": (bomb(9), "more than 50,000 values"),
    "merges of merges": (merge_bomb(9), "more than 50,000 values"),
    "a list inside itself": ("a: 1\nb: &b [*b]", "line 2: '*b' is inside itself"),
    "a mapping inside itself": ("a: &a\n  b: {c: *a}", "line 2: '*a' is inside itself"),
    "a merge of itself": ("a: &a\n  <<: *a", "line 2: '*a' is inside itself"),
    "deep brackets": ("[" * 100_000, "nested more than 64 deep"),
    "deep braces": ("{a: " * 50_000, "nested more than 64 deep"),
    "deep dashes": ("- " * 50_000, "nested more than 64 deep"),
    "deep blocks": ("\n".join(f"{' ' * n}a:" for n in range(1000)), "nested more than 64 deep"),
    "deep keys": ("? " * 50_000, "nested more than 64 deep"),
    "many values": (f"[{'a,' * 400_000}]", "more than 50,000 values"),
    "megabytes": ("a: 1\n" * 300_000, "larger than 1 MiB"),
    "5,000 digits": (f"a: 1\nb: {'1' * 5000}", "line 2: 1111"),
    "hexadecimal digits": (f"a: 0x{'f' * 5000}", "beyond 64 bits"),
    "a number to the base of 60": (f"a: 1{':10' * 5000}", "another number in YAML"),
    "65 bits": (f"a: {2**64}", "beyond 64 bits"),
    "no number": ("a: !!int 0x", "line 1: 0x is no integer"),
    "not a number": ("a: .nan", "line 1: .nan is not a finite number"),
    "infinite": ("a: [1,\n -.inf]", "line 2: -.inf is not a finite number"),
    "too large a number": ("a: 1.0e+999", "line 1: 1.0e+999 is not a finite number"),
    "no date": ("a: 2026-13-45", "line 1: 2026-13-45 is no date"),
    "NUL": ("a: 1\nb: x\0y", "line 2"),
    "NUL by escape": ('a: 1\nb: "x\\0y"', "line 2: a text with a NUL"),
    "half a character": ('a: "\\ud800"', "line 1"),
    "a key twice": ("a: 1\nb:\n  c: 1\n  c: 2", "'c' occurs twice, again in line 4"),
    "one key in two spellings": ("yes: 1\ntrue: 2", "'true' occurs twice, again in line 2"),
    "a key twice below an alias": ("a: &a {b: 1, b: 2}\nc: *a", "'b' occurs twice"),
    "two merges": ("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a", "'<<' occurs twice, again in line 4"),
    "a list as key": ("? [a]\n: 1", "line 1: a key is no single value"),
    "a Python object": ("a: !!python/object:os.system x", "line 1: tag 'python/object:os.system'"),
    "a set": ("a: !!set {b}", "line 1: tag 'set'"),
    "two documents": ("a: 1\n---\nb: 1", "line 2"),
    "an unknown alias": ("a: *x", "line 1"),
    "a tabulator": ("a:\n\tb: 1", "line 2"),
}

JSON = {
    "broken": ("[1,\n", "line 2"),
    "a key twice": (
        '{"a": 1,\n "b": {"c": 1,\n "\\u0063": 2}}',
        "'c' occurs twice, again in line 3",
    ),
    "not a number": ('{"a": NaN}', "NaN is not a JSON number"),
    "infinite": ('{"a": -Infinity}', "-Infinity is not a JSON number"),
    "too large a number": ("[1e999]", "1e999 is not a finite number"),
    "5,000 digits": (f"[{'1' * 5000}]", "beyond 64 bits"),
    "65 bits": (f"[{2**64}]", "beyond 64 bits"),
    "deep": ("[" * 100_000 + "]" * 100_000, "nested more than 64 deep"),
    "somewhat deep": ("[" * 200 + "]" * 200, "nested more than 64 deep"),
    "deep objects": ('{"a":' * 200 + "1" + "}" * 200, "nested more than 64 deep"),
    "NUL": ('{"a\\u0000": 1}', "a text with a NUL"),
    "half a character": ('["\\ud800"]', "half a character"),
}


def quickly(parse, text):
    start = time.process_time()
    with pytest.raises(DocumentError) as caught:
        parse(text, "the file")
    assert time.process_time() - start < 1.0
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("name", YAML)
def test_yaml_beyond_the_bounds_is_refused_at_once_with_its_place(name):
    text, expected = YAML[name]
    message = quickly(parse_yaml, text)
    assert message.startswith("the file")
    assert expected in message
    assert len(message) < 200


@pytest.mark.parametrize("name", JSON)
def test_json_beyond_the_bounds_is_refused_at_once_with_its_place(name):
    text, expected = JSON[name]
    message = quickly(parse_json, text)
    assert message.startswith("the file")
    assert expected in message
    assert len(message) < 200


@pytest.mark.parametrize("content", ["a: é".encode("latin-1"), "a: 1".encode("utf-16")])
def test_bytes_that_are_not_utf_8_are_refused(content):
    for parse in (parse_yaml, parse_json):
        with pytest.raises(DocumentError, match="not UTF-8 text: line 1"):
            parse(content, "the file")


def test_a_text_of_the_environment_that_is_not_utf_8_is_refused():
    for parse in (parse_yaml, parse_json):
        with pytest.raises(DocumentError, match="ML__PROJECT is not UTF-8 text: line 1"):
            parse("J\udcf6rg", "ML__PROJECT")


def test_common_yaml_is_read():
    text = "\ufeffname: é\nday: 2026-11-30\nrate: 1_000\nlist: &x [1, 2.5, null]\nagain: *x\n"
    text += "base: &base {a: 1, b: 2}\nmerged: {<<: *base, b: 3}\n"
    found = parse_yaml(text.encode(), "ml.yaml")
    assert (found["name"], found["rate"], found["again"]) == ("é", 1000, [1, 2.5, None])
    assert found["merged"] == {"a": 1, "b": 3}
    assert str(found["day"]) == "2026-11-30"
    assert parse_yaml("", "ml.yaml") is None
    assert parse_json('{"a": [1, -2.5e3, "é", null, true]}', "x") == {
        "a": [1, -2500.0, "é", None, True]
    }


@pytest.mark.parametrize("value", ["010", "-007", "0_1", "1:30", "12:30:45", "1:30.5", "0:0.05"])
def test_numbers_that_yaml_reads_differently_are_refused(value):
    with pytest.raises(DocumentError, match=f"line 2: {value} is another number in YAML"):
        parse_yaml(f"a: 1\nb: {value}\n", "ml.yaml")
    assert parse_yaml(f"b: '{value}'\n", "ml.yaml") == {"b": value}


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("0.05", 0.05), ("-0.5", -0.5), ("0x1F", 31)]
)
def test_plain_numbers_are_read(text, value):
    assert parse_yaml(f"a: {text}\n", "ml.yaml") == {"a": value}


def test_many_short_lines_are_read():
    lines = "".join(f"k{n}: {{a: {n}}}\n" for n in range(10_000))
    assert len(parse_yaml(lines, "ml.yaml")) == 10_000


def test_a_pipe_is_refused_without_blocking(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for read in (read_yaml, read_json):
        with pytest.raises(DocumentError, match="no regular file"):
            read(pipe)
        with pytest.raises(OSError, match="No such file"):
            read(tmp_path / "none")


def test_a_huge_file_is_refused_without_being_read(tmp_path):
    path = tmp_path / "huge"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    for read in (read_yaml, read_json):
        with pytest.raises(DocumentError, match="larger than"):
            read(path)


def test_written_documents_round_trip():
    values = {"a": [1, 0.1, None, True, "é: #'\"\n"], "b": {"c": "2026-11-30", "d": "yes"}}
    assert parse_yaml(yaml.safe_dump(values, allow_unicode=True), "x") == values
    assert parse_json(json.dumps(values), "x") == values
