"""What production is to serve, as ``production-model.yaml`` says it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline import documents
from pipeline.errors import UsageError


class Digests(BaseModel):
    model_config = ConfigDict(frozen=True)

    bundle: str = Field(pattern="^[0-9a-f]{64}$")
    approval: str = Field(pattern="^[0-9a-f]{64}$")


class Desired(BaseModel):
    """The keys of the file that decide; the others are for people."""

    model_config = ConfigDict(frozen=True)

    model_name: str
    model_version: int = Field(ge=1)
    digests: Digests


def read(path: Path) -> Desired:
    """Return what the file says.

    Raises:
        UsageError: there is no such file, or it is not one that a promotion writes.
    """
    try:
        return parse(documents.read_bytes(path), str(path))
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", expected="the file that 'promote' writes"
        ) from None


def parse(content: bytes, path: str) -> Desired:
    """Return what the content of a file says; raises UsageError as ``read`` does."""
    try:
        return Desired.model_validate(documents.parse_yaml(content, path))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "its content"
        raise UsageError(f"{path}: {where}: {first['msg']}") from None
