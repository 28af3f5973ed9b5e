"""Python blocks of the documentation pass the default lint of a project that copies them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SIGNATURES = ROOT / "docs/reference/python-api.md"
"""Its blocks are declarations, not code to copy."""
PAGES = sorted({*ROOT.glob("docs/**/*.md"), ROOT / "README.md"} - {SIGNATURES})
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_blocks_are_formatted_as_ruff_formats_by_default(tmp_path: Path) -> None:
    for page in PAGES:
        for number, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8"))):
            (tmp_path / f"{page.stem}_{number}.py").write_text(block, encoding="utf-8")
    assert any(tmp_path.iterdir())
    run = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == ""
