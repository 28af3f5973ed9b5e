"""The context that a stage passes to the processes of a project's code."""

from __future__ import annotations

import sys
from pathlib import Path

TEST_CONTEXT = "ML_PIPELINE_TEST_CONTEXT"
"""Environment variable with the path of the JSON file that a stage passes to the tests it runs."""


def move_search_path(original: str, copy: str) -> None:
    """Import modules that are installed in editable mode from the copy of the project."""
    for place, entry in enumerate(sys.path):
        if Path(entry).is_relative_to(original):
            copied = Path(copy, Path(entry).relative_to(original))
            if copied.is_dir() and not copied.resolve().is_relative_to(original):
                sys.path[place] = str(copied)
