"""``lint``: the commands that check the project's code."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ml_pipeline.config.section import Section


class LintSection(Section):
    commands: tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...] = Field(
        (
            ("ruff", "check", "--output-format=json", "."),
            ("ruff", "format", "--check", "."),
        ),
        min_length=1,
        description="Commands as lists of words, run in a copy of the project; exit codes decide.",
    )
