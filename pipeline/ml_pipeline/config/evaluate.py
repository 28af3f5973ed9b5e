"""``evaluate``: limits of metrics, noise, label leaks and group gaps."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ml_pipeline.config.section import Section


class Threshold(Section):
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a threshold has min, max or both")
        return self


class EvaluateSection(Section):
    thresholds: dict[str, Threshold] = Field(
        default_factory=dict, description="Absolute limits by metric, for example auc: {min: 0.52}."
    )
    resamples: int = Field(500, ge=50, description="Bootstrap samples of days for the intervals.")
    noise: float = Field(1e-6, gt=0, description="Relative noise that must not change an answer.")
    max_noise_effect: float = Field(
        0.01,
        gt=0,
        description="Largest mean change of a prediction under that noise: of a probability, or in "
        "standard deviations of a regression's training labels.",
    )
    max_feature_auc: float = Field(
        0.98, ge=0.5, le=1, description="Largest AUC of one feature alone; above, it is named."
    )
    feature_auc_required: bool = Field(
        False, description="A feature above max_feature_auc fails the stage."
    )
    group_gaps: dict[str, float] = Field(
        default_factory=dict,
        description="Largest gap of a metric between groups, for example accuracy: 0.1.",
    )
