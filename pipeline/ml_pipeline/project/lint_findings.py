"""Parsing of findings (location, code and message) from the output of linters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_pipeline.core import documents
from ml_pipeline.core.documents import DocumentError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PLACED = re.compile(
    r"^(?:error: Failed to (?:parse|format) )?"
    r"(?P<file>[^\s:][^:]*\.(?:pyi?|ipynb|toml|cfg|ini|ya?ml)):(?P<line>\d+):"
    r"(?:(?P<column>\d+):)?\s*(?P<message>.+)$"
)
_CODE_FIRST = re.compile(
    r"^(?:(?P<code>[A-Z]{1,4}\d{1,5}):?|(?P<word>invalid-syntax|unformatted):) "
    r"(?:\[\*\] )?(?P<message>.+)$"
)
_CODE_LAST = re.compile(
    r"^(?P<level>error|warning|note): (?P<message>.*?)(?:\s+\[(?P<code>[\w-]+)\])?$"
)
_ARROW = re.compile(r"^--> (?P<file>.+?):(?P<line>\d+):(?P<column>\d+)$")
_UNFORMATTED = re.compile(r"^[Ww]ould reformat:? (?P<file>.+)$")
_UNREADABLE = re.compile(r"^error: cannot format (?P<file>[^:]+): (?P<message>.+)$")


@dataclass(frozen=True)
class Finding:
    """A finding of a linter. ``file`` is relative to the project if inside it."""

    file: str
    line: int | None
    code: str
    message: str
    column: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return " ".join(part for part in (place, self.code, self.message) if part)


def read_findings(output: str, root: Path) -> list[Finding]:
    """Return the findings in the output of ruff, black, flake8, mypy and tools of the same format.

    Supported are ruff's JSON; its full form (a message, then ``--> file:line:column``);
    ``file:line[:column]: message`` with a code before it (flake8, ruff's concise form) or behind it
    (mypy; its notes are left out); ``would reformat FILE`` (black, older ruff). Other lines are
    ignored.
    """
    return list(_from_json(output, root) or _from_lines(output, root))


def _from_json(output: str, root: Path) -> list[Finding]:
    start, end = output.find("["), output.rfind("]")
    if start < 0 or output[:start].strip() or end < start:
        return []
    try:
        items = documents.parse_json(output[start : end + 1], "the output")
    except DocumentError:
        return []
    return [_from_ruff(item, root) for item in items if isinstance(item, dict)]


def _number(value: object) -> int | None:
    return value if type(value) is int else None


def _from_ruff(item: dict[str, Any], root: Path) -> Finding:
    place = item.get("location")
    place = place if isinstance(place, dict) else {}
    return Finding(
        file=_relative(str(item.get("filename", "")), root),
        line=_number(place.get("row")),
        column=_number(place.get("column")),
        code=str(item.get("code") or item.get("name") or ""),
        message=str(item.get("message", "")),
    )


def _from_lines(output: str, root: Path) -> Iterator[Finding]:
    before = ""
    for raw in _COLOUR.sub("", output).splitlines():
        line, previous = raw.strip(), before
        before = line
        if match := _ARROW.match(line):
            code, message = _code(previous)
            yield Finding(
                file=_relative(match["file"], root),
                line=int(match["line"]),
                column=int(match["column"]),
                code=code or "",
                message=message,
            )
        elif match := _UNFORMATTED.match(line):
            file = _relative(match["file"], root)
            yield Finding(file, None, "format", "would be reformatted")
        elif match := _UNREADABLE.match(line):
            yield Finding(_relative(match["file"], root), None, "format", match["message"])
        elif match := _PLACED.match(line):
            code, message = _code(match["message"])
            if code is None:
                continue
            yield Finding(
                file=_relative(match["file"], root),
                line=int(match["line"]),
                column=int(match["column"]) if match["column"] else None,
                code=code,
                message=message,
            )


def _code(message: str) -> tuple[str | None, str]:
    """Split a message into code and text; the code is None for a note, which is ignored."""
    if match := _CODE_FIRST.match(message):
        return match["code"] or match["word"], match["message"]
    if match := _CODE_LAST.match(message):
        return (None if match["level"] == "note" else match["code"] or ""), match["message"]
    return "", message


def _relative(file: str, root: Path) -> str:
    try:
        return (root / file).resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return file
