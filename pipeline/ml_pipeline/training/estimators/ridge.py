"""Ridge regression on imputed, standardised features; its ONNX nodes are written here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Never

import numpy as np
from pydantic import Field

from ml_pipeline.config import Section
from ml_pipeline.core.report import Progress
from ml_pipeline.training.estimators.base import (
    SCIKIT_LEARN,
    Encoded,
    FitSettings,
    LabelledRows,
    Objective,
    ObjectiveKind,
    Predictions,
    Vector,
)
from ml_pipeline.training.onnx_graph import INPUT, OnnxGraph
from ml_pipeline.training.standardization import Standardization


class RidgeParameters(Section):
    """scikit-learn's: least squares with an L2 penalty.

    A missing value becomes the median of the training part, every feature is standardised.
    """

    alpha: float = Field(1.0, gt=0, description="The penalty's strength.")


@dataclass(frozen=True)
class LinearModel:
    """``((x - mean) / scale) . weights + intercept`` in double precision."""

    standardization: Standardization
    weights: Vector
    intercept: float
    best_round: ClassVar[int | None] = None

    def predict(self, x: Encoded) -> Predictions:
        standard = self.standardization.transform(x)
        return np.asarray(standard @ self.weights + self.intercept)

    def add_to(self, graph: OnnxGraph) -> str:
        standard = self.standardization.add_to(graph, INPUT)
        weights = graph.constant(self.weights[:, None], np.float64)
        score = graph.node("MatMul", standard, weights)
        shifted = graph.node("Add", score, graph.constant([[self.intercept]], np.float64))
        return graph.cast(shifted, np.float32)

    def native(self) -> None:
        return None

    def converged(self) -> None:
        return None


class Ridge:
    name = "ridge"
    title = "ridge regression"
    Parameters = RidgeParameters
    objectives: ClassVar[tuple[ObjectiveKind, ...]] = ("regression",)
    packages: ClassVar[dict[str, str]] = SCIKIT_LEARN
    native_file = None

    def fit(
        self,
        objective: Objective,  # noqa: ARG002 - regression is the only kind
        train: LabelledRows,
        validation: LabelledRows,  # noqa: ARG002 - nothing is stopped early
        params: RidgeParameters,
        settings: FitSettings,
        progress: Progress,
    ) -> LinearModel:
        """Solve the normal equations; a column without variance gets scale 1."""
        from sklearn.linear_model import Ridge as Estimator
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        progress("ridge regression", 0.0)
        standardization = Standardization.of(train.x)
        model = Estimator(solver="cholesky", random_state=settings.seed, **params.model_dump())
        with threadpool_limits(settings.threads):
            model.fit(standardization.transform(train.x), train.y)
        progress("ridge regression", 1.0)
        weights, intercept = np.asarray(model.coef_), float(model.intercept_)
        return LinearModel(standardization, weights, intercept)

    def predict_native(self, path: Path, x: Encoded) -> Never:
        raise NotImplementedError(f"{self.title} has no native file")
