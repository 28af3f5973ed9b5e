"""``features``: the problem's own features and those of the project."""

from __future__ import annotations

from pydantic import Field

from ml_pipeline.config.section import Section


class FeaturesSection(Section):
    standard: bool | tuple[str, ...] = Field(
        True, description="The problem's own features: all, none, or these by name."
    )
    modules: tuple[str, ...] = Field(
        (), description="Modules of the project whose functions marked @feature are used."
    )
    optional: tuple[str, ...] = Field(
        (), description="Features that a request may leave out; they are missing then."
    )
