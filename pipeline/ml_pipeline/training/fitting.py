"""Fits an estimator and lays a calibration over it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ml_pipeline.config import Calibration, Section
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Check, Progress
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.training.calibration import Curve, calibrate
from ml_pipeline.training.estimators.base import (
    Encoded,
    Estimator,
    FitSettings,
    Fitted,
    LabelledRows,
    Vector,
)
from ml_pipeline.training.label_scale import LabelScale

if TYPE_CHECKING:
    from ml_pipeline.tasks.base import Task
    from ml_pipeline.training.onnx_graph import OnnxGraph


@dataclass(frozen=True)
class Recipe:
    """An estimator, its checked parameters and the calibration to lay over it."""

    estimator: Estimator
    params: Section
    calibration: Calibration = "none"


@dataclass(frozen=True)
class Model:
    """What is trained, exported and served: an estimator, and what is laid over its predictions."""

    estimator: Estimator
    fitted: Fitted
    curve: Curve | LabelScale | None
    task: Task = BINARY

    def predict(self, x: Encoded) -> Vector:
        """Return the predictions, [n] or [n, k], of encoded rows [n, width]."""
        raw = self.fitted.predict(x)
        return raw if self.curve is None else self.curve.apply(raw)

    def add_to(self, graph: OnnxGraph) -> str:
        raw = self.fitted.add_to(graph)
        return raw if self.curve is None else self.curve.add_to(graph, raw)

    def checks(self) -> list[Check]:
        """Return the checks of the fit itself; advisory."""
        found = [self.fitted.converged(), self.curve.check() if self.curve else None]
        return [check for check in found if check is not None]


def require_objective(estimator: Estimator, task: Task) -> None:
    """Raise UsageError where the estimator does not learn the labels of the task."""
    if task.objective.kind not in estimator.objectives:
        raise UsageError(
            f"train.estimator is {estimator.name}, which does not learn the labels of a "
            f"{task.title}",
            expected=f"an estimator for {task.objective.kind}, or another problem.task",
            hint="see docs/reference/estimators.md",
        )


def fit(
    recipe: Recipe,
    train: LabelledRows,
    validation: LabelledRows,
    settings: FitSettings,
    progress: Progress,
    task: Task = BINARY,
) -> Model:
    """Fit on ``train``; stop early and calibrate on ``validation``.

    Raises:
        UsageError: the estimator does not learn such labels, or refuses its parameters.
        Refused: the validation part cannot carry the calibration.
    """
    estimator, objective = recipe.estimator, task.objective
    require_objective(estimator, task)
    if task.label_scale is not None:
        scale = LabelScale(*task.label_scale)
        train, validation = (replace(part, y=scale.scaled(part.y)) for part in (train, validation))
        fitted = estimator.fit(objective, train, validation, recipe.params, settings, progress)
        return Model(estimator, fitted, scale, task)
    fitted = estimator.fit(objective, train, validation, recipe.params, settings, progress)
    curve = calibrate(recipe.calibration, fitted.predict(validation.x), validation.y)
    return Model(estimator, fitted, curve, task)
