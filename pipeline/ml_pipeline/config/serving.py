"""``serving``: limits of the server, raw rows and the prediction log."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from ml_pipeline.config.section import Section


class PredictionLogSection(Section):
    """Requests and predictions, as rotated JSON lines."""

    enabled: bool = True
    folder: Path | None = Field(
        None, description="Holds a folder for each environment; predictions in the home if unset."
    )
    max_bytes: int = Field(64 << 20, ge=1 << 16, description="Bytes of a file.")
    keep: int = Field(16, ge=2, description="Files; the oldest are removed.")
    keep_days: float | None = Field(
        None, gt=0, description="Days after its last request that a file is removed."
    )
    total_bytes: int | None = Field(
        None, description="Bytes of all files, at least twice max_bytes; the oldest are removed."
    )

    @model_validator(mode="after")
    def _total_has_room(self) -> Self:
        if self.total_bytes is not None and self.total_bytes < 2 * self.max_bytes:
            raise ValueError(
                f"total_bytes is {self.total_bytes}; expected at least twice max_bytes, "
                f"{2 * self.max_bytes}"
            )
        return self


class RawRowsSection(Section):
    """Rows before features (``POST /predict/raw``), computed by the model's own code."""

    enabled: bool = True
    max_rows: int = Field(10_000, ge=1, description="Rows of a request, with their history.")
    max_queue: int = Field(8, ge=1, description="Requests that wait; more are answered 429.")
    max_seconds: float = Field(
        10.0, gt=0, description="Longest time for one of them, then it is answered 503."
    )


class ServingSection(Section):
    max_body: int = Field(1_000_000, ge=1, description="Bytes of a request.")
    max_rows: int = Field(1_000, ge=1)
    max_queue: int = Field(
        64, ge=1, description="Requests that wait for a slow model; more are answered 429."
    )
    max_seconds: float = Field(
        5.0, gt=0, description="Longest time that one of them waits, then it is answered 503."
    )
    log_requests: float = Field(
        0.0, ge=0, le=1, description="Share of answered requests with a line in the server's log."
    )
    raw: RawRowsSection = RawRowsSection()
    prediction_log: PredictionLogSection = PredictionLogSection()
    redact: dict[str, Literal["hash", "omit"]] = Field(
        default={}, description="Features that the prediction log has hashed, or omits."
    )
    redact_key_env: str | None = Field(
        None,
        description="Environment variable with the key of the hashes; keys/redact.key in the home "
        "if unset.",
    )
    keep_released: int = Field(
        10, ge=2, description="Versions that a rollback needs no registry for."
    )
    token_env: str | None = Field(None, description="Environment variable with the bearer token.")
