"""Fits an estimator and lays a calibration over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline.config import Calibration, Section
from ml_pipeline.core.report import Check, Progress
from ml_pipeline.training.calibration import Curve, calibrate
from ml_pipeline.training.estimators.base import (
    BINARY,
    Encoded,
    Estimator,
    FitSettings,
    Fitted,
    LabelledRows,
    Vector,
)

if TYPE_CHECKING:
    from ml_pipeline.training.onnx_graph import OnnxGraph


@dataclass(frozen=True)
class Recipe:
    """An estimator, its checked parameters and the calibration to lay over it."""

    estimator: Estimator
    params: Section
    calibration: Calibration = "none"


@dataclass(frozen=True)
class Model:
    """What is trained, exported and served: an estimator and its calibration, if any."""

    estimator: Estimator
    fitted: Fitted
    curve: Curve | None

    def predict(self, x: Encoded) -> Vector:
        """Return the probability of class 1, shape [n], of encoded rows [n, width]."""
        raw = self.fitted.predict(x)
        return raw if self.curve is None else self.curve.apply(raw)

    def add_to(self, graph: OnnxGraph) -> str:
        raw = self.fitted.add_to(graph)
        return raw if self.curve is None else self.curve.add_to(graph, raw)

    def checks(self) -> list[Check]:
        """Return what the fit says about itself; advisory."""
        found = [self.fitted.converged(), self.curve.check() if self.curve else None]
        return [check for check in found if check is not None]


def fit(
    recipe: Recipe,
    train: LabelledRows,
    validation: LabelledRows,
    settings: FitSettings,
    progress: Progress,
) -> Model:
    """Fit on ``train``; stop early and calibrate on ``validation``.

    Raises:
        UsageError: the estimator refuses its parameters.
        Refused: the validation part cannot carry the calibration.
    """
    fitted = recipe.estimator.fit(BINARY, train, validation, recipe.params, settings, progress)
    curve = calibrate(recipe.calibration, fitted.predict(validation.x), validation.y)
    return Model(recipe.estimator, fitted, curve)
