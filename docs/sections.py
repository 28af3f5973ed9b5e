"""Parts of hand-written pages that are generated: from ``<!-- generated: NAME -->`` to ``end``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

SECTION = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str, sections: Mapping[str, Callable[[], str]]) -> str:
    """Return a page with its generated parts made anew, each by the function of its name."""
    return SECTION.sub(lambda found: f"{found[1]}{sections[found[2]]()}{found[3]}", text)
