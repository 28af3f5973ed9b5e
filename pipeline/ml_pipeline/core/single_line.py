"""Text of a caller as one printable line: it may be shown at a terminal and kept as a tag."""

from __future__ import annotations

CUT = " ..."


def single_line(text: str, most: int) -> str:
    """Return the text on one line of printable characters, cut to ``most`` characters.

    Control characters and characters without width, by which a text could imitate the lines
    around it at a terminal, become spaces; runs of white space become one.
    """
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= most else line[: most - len(CUT)].rstrip() + CUT
