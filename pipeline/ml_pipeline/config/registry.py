"""``registry``: the MLflow server and the name of the registered model."""

from __future__ import annotations

from pydantic import Field

from ml_pipeline.config.section import Section
from ml_pipeline.core.schema_errors import pattern

NAME = pattern(
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
    "letters, digits, '.', '_' and '-', at most 63, a letter or digit first",
)
"""Of a project and of its registered model."""


class RegistrySection(Section):
    uri: str | None = Field(None, description="MLflow tracking URI; SQLite in the home if unset.")
    name: str | None = Field(
        None,
        pattern=NAME,
        description="Registered model; the project's name if unset.",
    )
    stages: bool = Field(False, description="Also set the stages Staging and Production.")
