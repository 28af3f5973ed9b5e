"""XGBoost: histogram trees, early stopping on the validation part, export through onnxmltools."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

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
    import xgboost


class XGBoostParameters(Section):
    """Gradient-boosted trees on histograms; a missing value takes each split's learnt side.

    Boosting stops when the loss of the validation part has not fallen for `train.patience` rounds;
    the rounds after the best one are dropped. An unknown parameter is an error here; XGBoost itself
    would ignore it. `model/model.ubj` is the model, before calibration, in XGBoost's own format.
    """

    learning_rate: float = Field(
        0.05,
        gt=0,
        le=1,
        validation_alias=AliasChoices("learning_rate", "eta"),
        description="Also `eta`.",
    )
    max_depth: int = Field(5, ge=0, le=32, description="0 is no limit.")
    max_leaves: int = Field(0, ge=0, description="0 is no limit.")
    grow_policy: Literal["depthwise", "lossguide"] = "depthwise"
    max_bin: int = Field(256, ge=2)
    min_child_weight: float = Field(5.0, ge=0)
    gamma: float = Field(
        0.0,
        ge=0,
        validation_alias=AliasChoices("gamma", "min_split_loss"),
        description="Also `min_split_loss`.",
    )
    reg_lambda: float = Field(
        1.0,
        ge=0,
        validation_alias=AliasChoices("reg_lambda", "lambda"),
        description="Also `lambda`.",
    )
    reg_alpha: float = Field(
        0.0, ge=0, validation_alias=AliasChoices("reg_alpha", "alpha"), description="Also `alpha`."
    )
    max_delta_step: float = Field(0.0, ge=0)
    subsample: float = Field(0.8, gt=0, le=1)
    colsample_bytree: float = Field(0.8, gt=0, le=1)
    colsample_bylevel: float = Field(1.0, gt=0, le=1)
    colsample_bynode: float = Field(1.0, gt=0, le=1)
    scale_pos_weight: float = Field(
        1.0, gt=0, description="Shifts the probabilities: calibrate afterwards."
    )


@dataclass(frozen=True)
class Booster:
    """The trees up to the best round."""

    trees: xgboost.Booster
    width: int
    best_round: int
    rounds: int
    limit: int
    objective: Objective

    def predict(self, x: Encoded) -> Predictions:
        return np.asarray(self.trees.inplace_predict(x), dtype=np.float64)

    def add_to(self, graph: OnnxGraph) -> str:
        import xgboost
        from onnxmltools import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        # Of a bare Booster the converter guesses whether it classifies, and takes trees for a
        # regression where every cover is a whole number.
        is_regression = self.objective.kind == "regression"
        estimator = xgboost.XGBRegressor() if is_regression else xgboost.XGBClassifier()
        estimator.load_model(bytearray(self.native()))
        model = convert_xgboost(
            estimator,
            "model",
            initial_types=[(INPUT, FloatTensorType([None, self.width]))],
            target_opset=OPSETS[""],
        )
        _set_base_values(model, self._base_values())
        return graph.include(model, INPUT, "variable" if is_regression else "probabilities")

    def _base_values(self) -> list[float]:
        """Return what every row starts from: the logit of the base score, or the score itself."""
        learner = json.loads(self.trees.save_config())["learner"]["learner_model_param"]
        scores = json.loads(f"[{learner['base_score'].strip('[]')}]")
        if self.objective.kind == "binary":
            (base,) = scores
            return [] if base == 0.5 else [float(-np.log(1 / np.float32(base) - 1.0))]
        if self.objective.kind == "multiclass" and len(scores) == 1:
            return []  # the same for each class, which the softmax does not see
        return [float(np.float32(score)) for score in scores]

    def native(self) -> bytes:
        return bytes(self.trees.save_raw("ubj"))

    def converged(self) -> Check:
        return early_stopping.check(self.best_round, self.rounds, self.limit)


class XGBoost:
    name = "xgboost"
    title = "XGBoost"
    Parameters = XGBoostParameters
    objectives: ClassVar[tuple[ObjectiveKind, ...]] = ("binary", "multiclass", "regression")
    packages: ClassVar[dict[str, str]] = {"xgboost": "xgboost"}
    native_file = "model.ubj"

    def fit(
        self,
        objective: Objective,
        train: LabelledRows,
        validation: LabelledRows,
        params: XGBoostParameters,
        settings: FitSettings,
        progress: Progress,
    ) -> Booster:
        """Boost until the validation loss has not fallen for ``settings.patience`` rounds.

        Raises:
            UsageError: XGBoost refuses the parameters.
        """
        import xgboost

        class Report(xgboost.callback.TrainingCallback):  # type: ignore[misc]
            def after_iteration(self, model: object, epoch: int, evals_log: object) -> bool:  # noqa: ARG002
                progress("boosting", (epoch + 1) / settings.max_epochs)
                return False

        learning = xgboost.DMatrix(train.x, train.y)
        watched = xgboost.DMatrix(validation.x, validation.y)
        try:
            booster = xgboost.train(
                {
                    **params.model_dump(),
                    **_learning_task(objective),
                    "tree_method": "hist",
                    "device": "cpu",
                    "seed": settings.seed,
                    "nthread": settings.threads,
                    "verbosity": 0,
                },
                learning,
                settings.max_epochs,
                evals=[(watched, "validation")],
                callbacks=[xgboost.callback.EarlyStopping(rounds=settings.patience), Report()],
                verbose_eval=False,
            )
        except xgboost.core.XGBoostError as error:
            lines = str(error).splitlines()
            raise UsageError(
                f"xgboost refuses train.params: {lines[0] if lines else error}"
            ) from None
        best = int(booster.best_iteration) + 1
        return Booster(
            trees=booster[:best],
            width=train.x.shape[1],
            best_round=best,
            rounds=booster.num_boosted_rounds(),
            limit=settings.max_epochs,
            objective=objective,
        )

    def predict_native(self, path: Path, x: Encoded) -> Predictions:
        import xgboost

        booster = xgboost.Booster(params={"nthread": 1}, model_file=path)
        return np.asarray(booster.inplace_predict(x), dtype=np.float64)


def _learning_task(objective: Objective) -> dict[str, Any]:
    """Return XGBoost's parameters for what is learned."""
    if objective.kind == "binary":
        return {"objective": "binary:logistic", "eval_metric": "logloss"}
    if objective.kind == "regression":
        return {"objective": "reg:squarederror", "eval_metric": "rmse"}
    return {
        "objective": "multi:softprob",
        "eval_metric": "mlogloss",
        "num_class": objective.outputs,
    }


def _set_base_values(model: Any, values: list[float]) -> None:
    """Set the ensemble's base values: the converter's are wrong where a first leaf is 0."""
    from onnx import helper

    kinds = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")
    (ensemble,) = (node for node in model.graph.node if node.op_type in kinds)
    kept = [attribute for attribute in ensemble.attribute if attribute.name != "base_values"]
    if any(values):
        kept.append(helper.make_attribute("base_values", values))
    del ensemble.attribute[:]
    ensemble.attribute.extend(kept)
