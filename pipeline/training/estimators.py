"""Fits an estimator by its name and lays a calibration over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.config import Calibration, Section
from pipeline.report import Check, Progress
from pipeline.training import boosting, forest, linear
from pipeline.training.calibration import Curve, calibrate
from pipeline.training.model import Encoded, Fitted, Sample, Settings, Vector

if TYPE_CHECKING:
    from pipeline.training.graph import Graph

Fit = Callable[[Sample, Sample, Section, Settings, Progress], Fitted]

FITS: Mapping[str, Fit] = {
    "xgboost": boosting.fit,
    "logistic-regression": linear.fit,
    "random-forest": forest.fit,
}


@dataclass(frozen=True)
class Recipe:
    """An estimator by name, its checked parameters and the calibration to lay over it."""

    estimator: str
    params: Section
    calibration: Calibration = "none"


@dataclass(frozen=True)
class Model:
    """What is trained, exported and served: an estimator and its calibration, if any."""

    estimator: str
    fitted: Fitted
    curve: Curve | None

    def predict(self, x: Encoded) -> Vector:
        """Return the probability of class 1, shape [n], of encoded rows [n, width]."""
        raw = self.fitted.predict(x)
        return raw if self.curve is None else self.curve.apply(raw)

    def add_to(self, graph: Graph) -> str:
        raw = self.fitted.add_to(graph)
        return raw if self.curve is None else self.curve.add_to(graph, raw)

    def checks(self) -> list[Check]:
        """Return what the fit says about itself; advisory."""
        found = [self.fitted.converged(), self.curve.check() if self.curve else None]
        return [check for check in found if check is not None]


def fit(
    recipe: Recipe, train: Sample, validation: Sample, settings: Settings, progress: Progress
) -> Model:
    """Fit on ``train``; stop early and calibrate on ``validation``.

    Raises:
        UsageError: the estimator refuses its parameters.
        Refused: the validation part cannot carry the calibration.
    """
    fitted = FITS[recipe.estimator](train, validation, recipe.params, settings, progress)
    curve = calibrate(recipe.calibration, fitted.predict(validation.x), validation.y)
    return Model(recipe.estimator, fitted, curve)
