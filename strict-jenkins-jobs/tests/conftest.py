"""A double of Jenkins, and small folders of YAML."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from .double import Jenkins, running

SMALL = """
    - job:
        name: team
        project-type: folder
        description: Of the team.

    - job:
        name: team/retrain
        project-type: pipeline
        description: Every week.
        sandbox: true
        dsl: echo 'one'
"""

Write = Callable[..., Path]


@pytest.fixture
def jenkins() -> Iterator[Jenkins]:
    with running() as double:
        yield double


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write files of a folder of jobs; without any, a folder with one pipeline in it."""

    def make(text: str = SMALL, **others: str) -> Path:
        folder = tmp_path / "jobs"
        folder.mkdir(exist_ok=True)
        for name, content in {"jobs": text, **others}.items():
            (folder / f"{name}.yaml").write_text(dedent(content))
        return folder

    return make
