"""Output of common linters is parsed as findings."""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_pipeline.project.lint_findings import Finding, read_findings

ROOT = Path("/project")


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        (
            "features/own.py:3:80: E501 line too long (90 > 79 characters)",
            Finding("features/own.py", 3, "E501", "line too long (90 > 79 characters)", 80),
        ),
        (
            "./own.py:1:1: F401 'os' imported but unused",
            Finding("own.py", 1, "F401", "'os' imported but unused", 1),
        ),
        (
            'own.py:7: error: Incompatible types (got "int")  [assignment]',
            Finding("own.py", 7, "assignment", 'Incompatible types (got "int")'),
        ),
        (
            "own.py:7:5: error: Name 'x' is not defined",
            Finding("own.py", 7, "", "Name 'x' is not defined", 5),
        ),
        (
            "would reformat /project/features/own.py",
            Finding("features/own.py", None, "format", "would be reformatted"),
        ),
        (
            "Would reformat: a file.py",
            Finding("a file.py", None, "format", "would be reformatted"),
        ),
        (
            "error: cannot format own.py: Cannot parse: 1:5: def f(:",
            Finding("own.py", None, "format", "Cannot parse: 1:5: def f(:"),
        ),
        (
            "error: Failed to parse own.py:1:7: Expected ')', found newline",
            Finding("own.py", 1, "", "Expected ')', found newline", 7),
        ),
        (
            "F401 [*] `os` imported but unused\n --> own.py:1:8\n  |\n1 | import os\n  |        ^^",
            Finding("own.py", 1, "F401", "`os` imported but unused", 8),
        ),
        (
            "unformatted: File would be reformatted\n --> own.py:1:5\n  |\n  - x = ( 1)\n1 + x = 1",
            Finding("own.py", 1, "unformatted", "File would be reformatted", 5),
        ),
        (
            "invalid-syntax: Expected a parameter\n --> own.py:1:7\n  |",
            Finding("own.py", 1, "invalid-syntax", "Expected a parameter", 7),
        ),
        (
            "own.py:1:8: F401 [*] `os` imported but unused",
            Finding("own.py", 1, "F401", "`os` imported but unused", 8),
        ),
        (
            "\x1b[1mwould reformat own.py\x1b[0m",
            Finding("own.py", None, "format", "would be reformatted"),
        ),
        (
            "/elsewhere/own.py:2:1: W1 outside",
            Finding("/elsewhere/own.py", 2, "W1", "outside", 1),
        ),
    ],
)
def test_findings_of_supported_formats_are_parsed(line, finding):
    assert read_findings(f"header\n{line}\n1 file would be reformatted.\n", ROOT) == [finding]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "All checks passed!",
        "Success: no issues found in 3 source files",
        "Found 3 errors in 1 file (checked 2 source files)",
        "1 file would be reformatted, 2 files would be left unchanged.",
        "own.py:7: note: Revealed type is 'int'",
        "12:30:00: started",
    ],
)
def test_other_lines_are_ignored(line):
    assert read_findings(line, ROOT) == []


class TestRuffJson:
    def test_findings_are_parsed(self):
        output = """[{"code": "F401", "filename": "/project/a.py", "message": "unused",
                      "location": {"row": 1, "column": 8}},
                     {"code": null, "filename": "/project/b.py", "message": "SyntaxError: no",
                      "location": {"row": 2, "column": 1}}]"""
        assert read_findings(output, ROOT) == [
            Finding("a.py", 1, "F401", "unused", 8),
            Finding("b.py", 2, "", "SyntaxError: no", 1),
        ]

    @pytest.mark.parametrize("output", ["[]", "[1, 2]", "[broken", "{}"])
    def test_empty_json_has_no_findings(self, output):
        assert read_findings(output, ROOT) == []


def test_a_finding_is_formatted_like_linter_output():
    assert str(Finding("a.py", 3, "E501", "too long", 80)) == "a.py:3:80 E501 too long"
    assert str(Finding("a.py", None, "format", "would be reformatted")) == (
        "a.py format would be reformatted"
    )
