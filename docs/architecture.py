"""Draws docs/explanation/architecture.svg from the import contracts and the imports themselves.

Rooms are on a diagonal, in the order of the layers in pyproject.toml. A dot in the row of one room
and the column of another is an import; all dots are above the diagonal, as the contract requires.
"""

from __future__ import annotations

import ast
import re
import tomllib
from html import escape
from pathlib import Path

import grimp
import sections

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "ml_pipeline"
PAGE = ROOT / "docs/explanation/architecture.md"

BOX_WIDTH, BOX_HEIGHT, STEP_X, STEP_Y, MARGIN = 92, 24, 46, 36, 24
LABEL_HEIGHT = 44
ATTRIBUTES = 'role="img" aria-labelledby="title" font-family="system-ui, sans-serif" font-size="12"'
LEGEND = "a dot: the room of the row imports the room of the column"


def contracts() -> list[dict[str, object]]:
    values = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts: list[dict[str, object]] = values["tool"]["importlinter"]["contracts"]
    return contracts


def layers() -> list[list[str]]:
    """Return the rooms of each layer, the highest first."""
    layered = next(each for each in contracts() if each["type"] == "layers")
    names: list[str] = layered["layers"]  # type: ignore[assignment]
    return [
        [room.strip().removeprefix(f"{PACKAGE}.") for room in re.split(r"[|:]", line)]
        for line in names
    ]


def imports(rooms: list[str]) -> set[tuple[str, str]]:
    """Return the pairs of rooms of which the first imports the second."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    pairs = {
        (room_of(module, rooms), room_of(other, rooms))
        for module in graph.modules
        for other in graph.find_modules_directly_imported_by(module)
    }
    return {(high, low) for high, low in pairs if high and low and high != low}


def room_of(module: str, rooms: list[str]) -> str:
    room = module.removeprefix(f"{PACKAGE}.").partition(".")[0]
    return room if room in rooms else ""


def purpose(room: str) -> str:
    """Return the first sentence of a room's docstring."""
    folder = ROOT / "pipeline" / PACKAGE / room
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        raise ValueError(f"{path.relative_to(ROOT)} has no docstring; the page of rooms needs one")
    return " ".join(docstring.split("\n\n")[0].split())


def picture() -> str:
    """Return the drawing as SVG."""
    grouped = layers()
    rooms = [room for layer in grouped for room in layer]
    edges = imports(rooms)
    place = {
        room: (MARGIN + STEP_X * index, LABEL_HEIGHT + STEP_Y * index)
        for index, room in enumerate(rooms)
    }
    width = 2 * MARGIN + STEP_X * (len(rooms) - 1) + BOX_WIDTH
    height = LABEL_HEIGHT + STEP_Y * (len(rooms) - 1) + BOX_HEIGHT + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {ATTRIBUTES}>',
        '<title id="title">Rooms of the package in their layers, and what each imports</title>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{width - MARGIN}" y="24" text-anchor="end" fill="#444444">{LEGEND}</text>',
    ]
    for layer in grouped:
        if len(layer) > 1:
            (left, top), (right, bottom) = place[layer[0]], place[layer[-1]]
            parts.append(
                f'<rect x="{left - 5}" y="{top - 5}" width="{right - left + BOX_WIDTH + 10}" '
                f'height="{bottom - top + BOX_HEIGHT + 10}" rx="6" fill="#f2f2f2"/>'
            )
    for room in rooms:
        x, y = place[room]
        columns = [_column(place[low]) for high, low in edges if high == room]
        rows = [_row(place[high]) for high, low in edges if low == room]
        if columns:
            parts.append(_line(x + BOX_WIDTH, _row((x, y)), max(columns), _row((x, y))))
        if rows:
            parts.append(_line(_column((x, y)), min(rows), _column((x, y)), y))
    for high, low in sorted(edges):
        parts.append(
            f'<circle cx="{_column(place[low]):g}" cy="{_row(place[high]):g}" r="4" '
            f'fill="#1f4e79"><title>{high} imports {low}</title></circle>'
        )
    for room in rooms:
        x, y = place[room]
        parts.append(
            f"<g><title>{escape(purpose(room).replace('``', ''))}</title>"
            f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="4" '
            'fill="#dce9f5" stroke="#1f4e79"/>'
            f'<text x="{x + BOX_WIDTH / 2:g}" y="{y + 16}" text-anchor="middle">{room}</text></g>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _column(place: tuple[int, int]) -> float:
    return place[0] + BOX_WIDTH * 0.75


def _row(place: tuple[int, int]) -> float:
    return place[1] + BOX_HEIGHT / 2


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" stroke="#b7c4d1" fill="none"/>'


def page() -> str:
    """Return the page with the present tables of rooms and contracts."""
    text = PAGE.read_text(encoding="utf-8")
    return sections.fill(text, {"rooms": _rooms_table, "contracts": _contracts_list})


def _rooms_table() -> str:
    rooms = [room for layer in layers() for room in layer]
    edges = imports(rooms)
    lines = ["| room | what is in it | imports |", "|---|---|---|"]
    for room in rooms:
        lower = [f"`{low}`" for low in rooms if (room, low) in edges]
        lines.append(
            f"| `{room}` | {purpose(room).replace('``', '`')} | {', '.join(lower) or 'none'} |"
        )
    return "\n".join(lines) + "\n"


def _contracts_list() -> str:
    return "".join(f"- {contract['name']}\n" for contract in contracts())
