"""``test``: the project's unit tests and their coverage."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ml_pipeline.config.section import Section


class TestSection(Section):
    path: Path = Field(Path("tests/unit"), description="Where the unit tests lie.")
    coverage: float = Field(0.0, ge=0, le=100, description="Least line coverage in per cent.")
    sources: tuple[str, ...] = Field(
        (),
        description="Packages or folders that coverage counts; those of features.modules if unset.",
    )
    args: tuple[str, ...] = Field((), description="Further arguments of pytest.")
