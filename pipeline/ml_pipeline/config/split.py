"""``split``: holdout, validation part and folds."""

from __future__ import annotations

from pydantic import Field, model_validator

from ml_pipeline.config.section import Section


class SplitSection(Section):
    """Rows with a time are split by day, rows without one by a hash of their content."""

    holdout_days: int = Field(120, ge=1, description="The last days, never trained on.")
    validation_days: int = Field(60, ge=1, description="The days before, for early stopping.")
    folds: int = Field(
        3, ge=0, description="Walk-forward folds that choose from train.search and windows."
    )
    fold_days: int = Field(60, ge=1, description="Days that each fold is scored on.")
    quick_holdout_days: int = Field(20, ge=1)
    quick_validation_days: int = Field(10, ge=1)
    holdout_share: float = Field(0.2, gt=0, lt=1, description="Of rows without a time.")
    validation_share: float = Field(0.1, gt=0, lt=1, description="Of rows without a time.")

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> SplitSection:
        if self.holdout_share + self.validation_share >= 1:
            raise ValueError("holdout_share + validation_share must stay under 1")
        return self
