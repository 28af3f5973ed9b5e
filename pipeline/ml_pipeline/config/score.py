"""``score``: the database that batch scores are written to."""

from __future__ import annotations

from pydantic import Field

from ml_pipeline.config.section import Section


class ScoreSection(Section):
    """The database of ``ml-pipeline score --out sql:TABLE``, ``data.source``'s own if unset."""

    url: str | None = Field(
        None, description="``{password}`` in it stands for the content of ``password_env``."
    )
    password_env: str | None = Field(
        None, description="Environment variable that holds the password; never the password itself."
    )
