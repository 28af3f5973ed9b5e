"""LightGBM: leaf-wise trees, early stopping on the validation part, export through onnxmltools."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import AliasChoices, Field

from ml_pipeline.config import Section
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Check, Progress
from ml_pipeline.training.estimators import early_stopping
from ml_pipeline.training.estimators.base import (
    Encoded,
    FitSettings,
    LabelledRows,
    Objective,
    ObjectiveKind,
    Predictions,
)
from ml_pipeline.training.onnx_graph import INPUT, OPSETS, OnnxGraph

if TYPE_CHECKING:
    import lightgbm

OBJECTIVES: Mapping[ObjectiveKind, tuple[str, str]] = {
    "binary": ("binary", "binary_logloss"),
    "multiclass": ("multiclass", "multi_logloss"),
    "regression": ("regression", "l2"),
}
"""LightGBM's names of the objective and of the metric that stops it."""


class LightGBMParameters(Section):
    """Gradient-boosted trees, grown leaf by leaf; a missing value takes each split's learnt side.

    Boosting stops when the loss of the validation part has not fallen for `train.patience` rounds;
    the rounds after the best one are dropped. `model/model.lgbm` is the model, before calibration,
    as LightGBM's own text, with thresholds in float32, as they are in ONNX.
    LightGBM's wheel needs the system's libgomp (Debian's package `libgomp1`).
    """

    learning_rate: float = Field(
        0.05,
        gt=0,
        le=1,
        validation_alias=AliasChoices("learning_rate", "eta"),
        description="Also `eta`.",
    )
    num_leaves: int = Field(31, ge=2, le=131072)
    max_depth: int = Field(-1, ge=-1, le=64, description="-1 is no limit.")
    max_bin: int = Field(255, ge=2)
    min_data_in_leaf: int = Field(
        20,
        ge=0,
        validation_alias=AliasChoices("min_data_in_leaf", "min_child_samples"),
        description="Also `min_child_samples`.",
    )
    min_sum_hessian_in_leaf: float = Field(
        0.001,
        ge=0,
        validation_alias=AliasChoices("min_sum_hessian_in_leaf", "min_child_weight"),
        description="Also `min_child_weight`.",
    )
    min_gain_to_split: float = Field(0.0, ge=0)
    lambda_l1: float = Field(
        0.0,
        ge=0,
        validation_alias=AliasChoices("lambda_l1", "reg_alpha"),
        description="Also `reg_alpha`.",
    )
    lambda_l2: float = Field(
        0.0,
        ge=0,
        validation_alias=AliasChoices("lambda_l2", "reg_lambda"),
        description="Also `reg_lambda`.",
    )
    feature_fraction: float = Field(
        0.8,
        gt=0,
        le=1,
        validation_alias=AliasChoices("feature_fraction", "colsample_bytree"),
        description="Also `colsample_bytree`.",
    )
    bagging_fraction: float = Field(
        0.8,
        gt=0,
        le=1,
        validation_alias=AliasChoices("bagging_fraction", "subsample"),
        description="Also `subsample`.",
    )
    bagging_freq: int = Field(1, ge=0, description="Rounds between two draws; 0 is no bagging.")


@dataclass(frozen=True)
class LightGBMBooster:
    """The trees up to the best round."""

    trees: lightgbm.Booster
    text: str
    objective: Objective
    width: int
    best_round: int
    rounds: int
    limit: int

    def predict(self, x: Encoded) -> Predictions:
        return np.asarray(self.trees.predict(x, num_threads=1), dtype=np.float64)

    def add_to(self, graph: OnnxGraph) -> str:
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        model = convert_lightgbm(
            self.trees,
            "model",
            initial_types=[(INPUT, FloatTensorType([None, self.width]))],
            target_opset=OPSETS[""],
            zipmap=False,
        )
        is_regression = self.objective.kind == "regression"
        return graph.include(model, INPUT, "variable" if is_regression else "probabilities")

    def native(self) -> bytes:
        return self.text.encode()

    def converged(self) -> Check:
        return early_stopping.check(self.best_round, self.rounds, self.limit)


class LightGBM:
    name = "lightgbm"
    title = "LightGBM"
    Parameters = LightGBMParameters
    objectives: ClassVar[tuple[ObjectiveKind, ...]] = ("binary", "multiclass", "regression")
    packages: ClassVar[dict[str, str]] = {"lightgbm": "lightgbm"}
    native_file = "model.lgbm"

    def fit(
        self,
        objective: Objective,
        train: LabelledRows,
        validation: LabelledRows,
        params: LightGBMParameters,
        settings: FitSettings,
        progress: Progress,
    ) -> LightGBMBooster:
        """Boost until the validation loss has not fallen for ``settings.patience`` rounds.

        Raises:
            UsageError: LightGBM refuses the parameters.
        """
        import lightgbm

        rounds = 0

        def report(environment: lightgbm.callback.CallbackEnv) -> None:
            nonlocal rounds
            rounds = environment.iteration + 1
            progress("boosting", rounds / settings.max_epochs)

        name, metric = OBJECTIVES[objective.kind]
        values = params.model_dump() | {
            "objective": name,
            "metric": metric,
            "seed": settings.seed,
            "num_threads": settings.threads,
            "deterministic": True,
            "force_row_wise": True,  # else chosen by which is quicker at the time
            "feature_pre_filter": False,
            "verbosity": -1,
        }
        if objective.kind == "multiclass":
            values["num_class"] = objective.outputs
        learning = lightgbm.Dataset(train.x, train.y, params=values)
        watched = lightgbm.Dataset(validation.x, validation.y, reference=learning)
        try:
            booster = lightgbm.train(
                values,
                learning,
                settings.max_epochs,
                valid_sets=[watched],
                callbacks=[report, lightgbm.early_stopping(settings.patience, verbose=False)],
            )
        except lightgbm.basic.LightGBMError as error:
            raise UsageError(f"lightgbm refuses train.params: {error}") from None
        best = booster.best_iteration
        text = float32_thresholds(booster.model_to_string(num_iteration=best))
        return LightGBMBooster(
            trees=lightgbm.Booster(model_str=text),
            text=text,
            objective=objective,
            width=train.x.shape[1],
            best_round=best,
            rounds=rounds,
            limit=settings.max_epochs,
        )

    def predict_native(self, path: Path, x: Encoded) -> Predictions:
        import lightgbm

        trees = lightgbm.Booster(model_str=path.read_text())
        return np.asarray(trees.predict(x, num_threads=1), dtype=np.float64)


def float32_thresholds(text: str) -> str:
    """Return the text of a model that predicts the same for float32 and converts to ONNX exactly.

    ONNX has float32 thresholds only, so each becomes the largest float32 that is not above it. The
    parameters at the end name the number of threads, and nothing reads them: they are dropped.
    """
    body = re.sub(r"\nparameters:\n.*?\nend of parameters\n", "\n", text, flags=re.DOTALL)
    lines = []
    for line in body.split("\n"):
        key, _, value = line.partition("=")
        if key == "tree_sizes":  # in bytes, which have changed
            continue
        if key == "threshold" and value:
            rounded = [repr(_floor(float(word))) for word in value.split(" ")]
            lines.append(f"{key}={' '.join(rounded)}")
        else:
            lines.append(line)
    return "\n".join(lines)


def _floor(threshold: float) -> float:
    with np.errstate(over="ignore"):
        rounded = np.float32(threshold)
    if float(rounded) > threshold:
        rounded = np.nextafter(rounded, np.float32("-inf"))
    return float(rounded)
