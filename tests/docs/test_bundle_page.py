"""The reference page of bundles lists the files, manifest keys and identity parts of the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from ml_pipeline.bundle import identity, reader, writer
from ml_pipeline.training.estimators.loader import installed_estimators

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/bundle.md"


def names_in_table(header: str) -> set[str]:
    """Return the names in code format of the first column of a table."""
    rows = PAGE.read_text(encoding="utf-8").split(f"| {header} |")[1].split("\n\n")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", rows, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_files() -> None:
    native = {plugin.native_file for plugin in installed_estimators().values()} - {None}
    assert names_in_table("file") == reader.REQUIRED | native | {reader.MANIFEST}


def test_keys_of_the_manifest() -> None:
    own = set(re.findall(r'^        "(\w+)":', inspect.getsource(writer._manifest), re.MULTILINE))
    assert names_in_table("key") == own | set(writer.REPEATED)


def test_parts_of_the_identity() -> None:
    source = inspect.getsource(identity.identity) + inspect.getsource(identity.recipe)
    parts = set(
        re.findall(r'^        "(\w+)":|parts\["(\w+)"\]|parts = {"(\w+)":', source, re.MULTILINE)
    )
    assert names_in_table("part") == {name for pair in parts for name in pair if name}
