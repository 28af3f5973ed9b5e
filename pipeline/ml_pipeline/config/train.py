"""``train``: the estimator, its parameters and its calibration."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ml_pipeline.config.section import Section

Calibration = Literal["none", "sigmoid", "isotonic"]


class Range(Section):
    """Numbers to choose from; whole ones where both limits are."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="Sample on a logarithmic scale.")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError("a range's low must be less than its high")
        if self.log and self.low <= 0:
            raise ValueError("a range with log must have a low above 0")
        return self


class SearchSection(Section):
    """Ranges of parameters, from which Optuna chooses the values of each trial."""

    trials: int = Field(ge=2, le=10_000, description="Parameter sets to try.")
    ranges: dict[str, Range | tuple[str | int | float | bool | None, ...]] = Field(
        min_length=1, description="By parameter: low and high, or a list of choices."
    )


class TrainSection(Section):
    estimator: str = Field(
        "xgboost", description="An installed estimator: see docs/reference/estimators.md."
    )
    params: dict[str, Any] = Field(
        default_factory=dict, description="Of the estimator: see docs/reference/estimators.md."
    )
    search: SearchSection | tuple[dict[str, Any], ...] = Field(
        (),
        description="Parameter sets, each laid over params, or ranges with a number of trials, to "
        "choose from by the loss on the walk-forward folds.",
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
