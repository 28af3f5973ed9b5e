"""``watch``: limits for live requests after a promotion."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ml_pipeline.config.section import Section


class WatchSection(Section):
    """Limits for live requests after a promotion; outside one, production is rolled back."""

    minutes: float = Field(
        0.0, ge=0, le=1440, description="From the promotion on; 0 watches nothing."
    )
    min_requests: int = Field(100, ge=1, description="Nothing is judged below.")
    error_rate: float = Field(
        0.01, ge=0, lt=1, description="Largest share answered with 429 or 500 and above."
    )
    refused_rate: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of refused requests (other 4xx) above which it is shown; clients cause "
        "them, so it rolls nothing back.",
    )
    p99_ms: float = Field(
        100.0, gt=0, le=5000, description="Largest 99th percentile of the time to an answer."
    )
    distance: float = Field(
        0.3,
        gt=0,
        lt=1,
        description="Largest share of answers that lie elsewhere than those to reference rows, "
        "where chance does not explain it.",
    )
    replaced: ClassVar[dict[str, str]] = {"psi": "distance"}
