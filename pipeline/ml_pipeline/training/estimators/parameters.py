"""The parameters that each estimator takes, with their defaults; the table of the estimators.

A name that is not here is an error with the nearest one suggested: XGBoost itself would ignore it.
Nothing heavy is imported, so that the configuration can be checked and documented without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AliasChoices, Field

from ml_pipeline.config import Section
from ml_pipeline.core.errors import UsageError, nearest
from ml_pipeline.core.schema_errors import parse


class XGBoostParams(Section):
    """Gradient-boosted trees on histograms; a missing value takes each split's learnt side."""

    learning_rate: float = Field(
        0.05, gt=0, le=1, validation_alias=AliasChoices("learning_rate", "eta")
    )
    max_depth: int = Field(5, ge=0, le=32, description="0 is no limit.")
    max_leaves: int = Field(0, ge=0, description="0 is no limit.")
    grow_policy: Literal["depthwise", "lossguide"] = "depthwise"
    max_bin: int = Field(256, ge=2)
    min_child_weight: float = Field(5.0, ge=0)
    gamma: float = Field(0.0, ge=0, validation_alias=AliasChoices("gamma", "min_split_loss"))
    reg_lambda: float = Field(1.0, ge=0, validation_alias=AliasChoices("reg_lambda", "lambda"))
    reg_alpha: float = Field(0.0, ge=0, validation_alias=AliasChoices("reg_alpha", "alpha"))
    max_delta_step: float = Field(0.0, ge=0)
    subsample: float = Field(0.8, gt=0, le=1)
    colsample_bytree: float = Field(0.8, gt=0, le=1)
    colsample_bylevel: float = Field(1.0, gt=0, le=1)
    colsample_bynode: float = Field(1.0, gt=0, le=1)
    scale_pos_weight: float = Field(1.0, gt=0)


class LogisticRegressionParams(Section):
    """Missing values become the median, features are standardised; L2 penalty, L-BFGS."""

    C: float = Field(1.0, gt=0, description="Inverse of the penalty's strength.")
    max_iter: int = Field(500, ge=1)
    tol: float = Field(1e-5, gt=0)


class RandomForestParams(Section):
    """Missing values become the median; the probability is the mean over the trees' leaves."""

    n_estimators: int = Field(100, ge=1)
    max_depth: int | None = Field(10, ge=1, description="None is no limit.")
    min_samples_leaf: int = Field(20, ge=1)
    max_features: Literal["sqrt", "log2"] | float = Field(
        "sqrt", description="How many features a split looks at; a number is a share."
    )
    criterion: Literal["gini", "entropy", "log_loss"] = "gini"


ESTIMATORS: Mapping[str, type[Section]] = {
    "xgboost": XGBoostParams,
    "logistic-regression": LogisticRegressionParams,
    "random-forest": RandomForestParams,
}


def params_of(estimator: str, values: Mapping[str, Any], where: str = "train.params") -> Section:
    """Return the checked parameters of an estimator, defaults included.

    ``where`` is what messages call the place that the values come from.

    Raises:
        UsageError: the estimator or a parameter is unknown, or a value is out of its range.
    """
    if estimator not in ESTIMATORS:
        raise UsageError(f"train.estimator is '{estimator}'", hint=nearest(estimator, ESTIMATORS))
    return parse(ESTIMATORS[estimator], values, f"{where} of {estimator}")
