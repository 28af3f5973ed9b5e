from __future__ import annotations

import io

from ml_pipeline.cli.console import Screen, console_on
from rich.console import Console


def test_what_to_do_stands_under_its_row() -> None:
    file = io.StringIO()
    rows = [
        (("Python", "pass", "3.11"), ""),
        (("port of production", "fail", "8000 is taken"), "end it, or set another [port]"),
    ]
    Screen(Console(file=file, width=200)).rows_with_notes(("check", "verdict", "observed"), rows)
    assert file.getvalue().splitlines() == [
        "",
        "check               verdict  observed",
        "Python              pass     3.11",
        "port of production  fail     8000 is taken",
        "    end it, or set another [port]",
    ]


def test_in_a_log_no_line_of_a_table_ends_in_blanks() -> None:
    file = io.StringIO()
    screen = Screen(console_on(file))
    screen.rows(("stage", "what it found"), [("train", "short"), ("gate", "long " * 30)])
    lines = file.getvalue().splitlines()
    assert lines[:3] == ["", "stage  what it found", "train  short"]
    assert [line for line in lines if line != line.rstrip()] == []


def test_on_a_narrow_terminal_it_stays_indented() -> None:
    file = io.StringIO()
    rows = [(("a", "fail", "b"), "word " * 20)]
    Screen(Console(file=file, width=40)).rows_with_notes(("check", "verdict", "observed"), rows)
    notes = file.getvalue().splitlines()[3:]
    assert len(notes) > 2
    assert all(line.startswith("    word") for line in notes)
