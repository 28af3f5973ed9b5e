"""Generated parts of hand-written pages, from ``<!-- generated: NAME -->`` to ``<!-- end -->``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

SECTION = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str, sections: Mapping[str, Callable[[], str]]) -> str:
    """Return a page with its generated parts replaced, each by the function of its name."""
    return SECTION.sub(lambda match: f"{match[1]}{sections[match[2]]()}{match[3]}", text)
