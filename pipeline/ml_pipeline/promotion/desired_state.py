"""The desired state of production: ``production-model.yaml``."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_pipeline.core import documents
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.schema_errors import pattern

DIGEST = pattern("^[0-9a-f]{64}$", "a SHA-256: 64 digits, 0 to 9 and a to f")


class Digests(BaseModel):
    model_config = ConfigDict(frozen=True)

    bundle: str = Field(pattern=DIGEST)
    approval: str = Field(pattern=DIGEST)


class Desired(BaseModel):
    """The keys that are read; the others are informative."""

    model_config = ConfigDict(frozen=True)

    model_name: str
    model_version: int = Field(ge=1)
    digests: Digests


def read(path: Path) -> Desired:
    """Return the desired state in a file.

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
    """Return the desired state in the content of a file; raises UsageError as ``read`` does."""
    try:
        return Desired.model_validate(documents.parse_yaml(content, path))
    except ValidationError as error:
        raise UsageError(
            f"{path}: {documents.reason(error)}", expected="the file that 'promote' writes"
        ) from None
