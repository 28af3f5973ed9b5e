"""``load_test``: rate, duration and limits of the load test."""

from __future__ import annotations

from pydantic import Field

from ml_pipeline.config.section import Section


class LoadTestSection(Section):
    """A constant rate of requests, and the limits for the responses."""

    rate: float = Field(100.0, gt=0, le=10_000, description="Requests a second.")
    seconds: float = Field(10.0, gt=0, le=3600, description="How long it is measured.")
    warmup: float = Field(2.0, ge=0, le=600, description="Seconds before, which do not count.")
    rows: int = Field(1, ge=1, le=1000, description="Rows of a request.")
    p99_ms: float = Field(
        100.0, gt=0, description="Largest 99th percentile of the latency, in milliseconds."
    )
    error_rate: float = Field(0.0, ge=0, lt=1, description="Largest share of requests that err.")
    required: bool = Field(
        True, description="The gate needs it; if false its limits are advisory, here and there."
    )
