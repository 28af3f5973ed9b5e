"""``train``: the estimator, its parameters and its calibration."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ml_pipeline.config.section import Section

Calibration = Literal["none", "sigmoid", "isotonic"]


class TrainSection(Section):
    estimator: str = Field(
        "xgboost", description="An installed estimator: see docs/reference/estimators.md."
    )
    params: dict[str, Any] = Field(
        default_factory=dict, description="Of the estimator: see docs/reference/estimators.md."
    )
    search: tuple[dict[str, Any], ...] = Field(
        (), description="Parameter sets, each laid over params, to choose from by log loss."
    )
    calibration: Calibration = "none"
    max_samples: int | None = Field(
        None, ge=2, description="The newest rows at most; all if unset."
    )
    max_epochs: int = Field(400, ge=1, description="Boosting rounds at most.")
    patience: int = Field(40, ge=1, description="Rounds without gain before boosting stops.")
    min_rows: int = Field(200, ge=2, description="Fewest rows of the training part.")
    seed: int = Field(7, ge=0, le=2**31 - 1)
    threads: int = Field(1, ge=1)
