"""``gitops``: the repository with the desired state of production."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ml_pipeline.config.section import Section
from ml_pipeline.core.schema_errors import pattern

BRANCH = pattern(
    r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$",
    "letters, digits, '.', '_', '-' and '/', no part beginning with '.', '_' or '-'",
)
"""A branch, or a path below a folder: no part begins with a dot or a dash."""


class GitopsSection(Section):
    """The repository with the desired state of production; none if ``repository`` is unset."""

    repository: str | None = Field(
        None,
        pattern=pattern(
            r"^(https?://|file:///|/|ssh://[^:@]+@?|[A-Za-z0-9._-]+@)[^\s]+$",
            "a git remote such as https://git.example.org/team/churn.git "
            "or git@git.example.org:team/churn.git",
        ),
        description="Where promote pushes production-model.yaml, and reconcile reads it.",
    )
    branch: str = Field("main", pattern=BRANCH)
    path: str = Field("production-model.yaml", pattern=BRANCH)
    pull_request: bool = Field(
        False, description="Push to a branch promotion/MODEL-vN, for a pull request."
    )
    token_env: str | None = Field(
        None, description="Environment variable with git's token; git's own means if unset."
    )
    user: str = Field("oauth2", description="Goes with the token.", min_length=1)
    author: str = Field("ml-pipeline", description="Of the commits.", min_length=1)
    email: str = Field("ml-pipeline@localhost", description="Of the commits.", min_length=1)

    @model_validator(mode="after")
    def _no_password(self) -> Self:
        address = self.repository or ""
        if "://" in address and ":" in address.split("://")[1].partition("/")[0].rpartition("@")[0]:
            raise ValueError("repository holds a password; use token_env")
        return self
