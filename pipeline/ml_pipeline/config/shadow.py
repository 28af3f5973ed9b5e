"""``shadow``: champion and challenger on the same requests, and their largest difference."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from ml_pipeline.config.section import Section

ShadowLimit = Literal["errors", "missing", "latency", "distance", "changed", "extreme", "groups"]


class ShadowSection(Section):
    """Champion and challenger on the same requests, and how far they may differ."""

    source: Literal["auto", "recorded", "holdout"] = Field(
        "auto",
        description="What is replayed: production's prediction log, the holdout, or the log if it "
        "has enough of the champion's requests.",
    )
    requests: int = Field(1000, ge=1, le=100_000, description="Replayed at most, the newest.")
    rate: float = Field(200.0, gt=0, le=10_000, description="Replayed requests a second, to each.")
    share: float = Field(1.0, gt=0, le=1, description="Live: share of requests that is copied.")
    timeout_ms: float = Field(2000.0, gt=0, le=60_000, description="No answer by then is missing.")
    min_requests: int = Field(100, ge=1, description="Answers to compare; inconclusive below.")
    min_minutes: float = Field(30.0, ge=0, description="Live: inconclusive below.")
    threshold: float = Field(0.5, gt=0, lt=1, description="Probability from which it decides 1.")
    error_rate: float = Field(0.0, ge=0, lt=1, description="Largest share of errors.")
    missing: float = Field(0.01, ge=0, lt=1, description="Largest share without an answer.")
    p99_ms: float = Field(100.0, gt=0, description="Largest 99th percentile of the latency,")
    latency_ratio: float = Field(
        2.0, ge=1, description="or, where the champion is slow itself, this many times its own."
    )
    distance: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Largest share of answers that lie elsewhere than the champion's, where chance "
        "does not explain it.",
    )
    changed: float = Field(0.25, ge=0, le=1, description="Largest share of changed decisions.")
    extreme: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Difference from which it is extreme: of probabilities, or in standard "
        "deviations of a regression's training labels.",
    )
    extremes: float = Field(0.01, ge=0, le=1, description="Largest share of extreme ones.")
    min_group: int = Field(30, ge=1, description="Answers of a group that is looked at.")
    advisory: tuple[ShadowLimit, ...] = Field(
        ("distance", "changed", "groups"), description="Limits that are shown and stop nothing."
    )
    required: bool = Field(
        True, description="The gate needs it; if false its limits are advisory, here and there."
    )
    replaced: ClassVar[dict[str, str]] = {"psi": "distance", "ks": "distance"}

    @field_validator("advisory", mode="before")
    @classmethod
    def _no_replaced_limit(cls, names: Any) -> Any:
        for name in names if isinstance(names, list | tuple) else ():
            if isinstance(name, str) and name in cls.replaced:
                raise ValueError(f"{cls.replaced[name]} instead of {name}, which it replaces")
        return names
