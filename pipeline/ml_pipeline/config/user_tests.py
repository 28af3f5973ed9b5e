"""``tests``: folders of the project's tests of data, model and staging."""

from __future__ import annotations

from pathlib import Path

from ml_pipeline.config.section import Section


class UserTests(Section):
    data: Path = Path("tests/data")
    model: Path = Path("tests/model")
    staging: Path = Path("tests/staging")
