"""Logistic regression on imputed, standardised features; its ONNX nodes are written here."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Never

import numpy as np
from pydantic import Field

from ml_pipeline.config import Section
from ml_pipeline.core.report import Check, Progress, Verdict
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
from ml_pipeline.training.onnx_graph import INPUT, OnnxGraph, two_columns
from ml_pipeline.training.standardization import Standardization


class LogisticRegressionParameters(Section):
    """scikit-learn's, with an L2 penalty, by L-BFGS; multinomial where there are several classes.

    A missing value becomes the median of the training part, every feature is standardised. The
    check `convergence` is inconclusive when `max_iter` ended the fit.
    """

    C: float = Field(1.0, gt=0, description="Inverse of the penalty's strength.")
    max_iter: int = Field(500, ge=1)
    tol: float = Field(1e-5, gt=0)


@dataclass(frozen=True)
class Logistic:
    """``sigmoid(((x - mean) / scale) . weights + intercept)`` in double precision.

    Of several classes the softmax of such scores, with one column of weights and one intercept a
    class.
    """

    standardization: Standardization
    weights: Vector
    intercept: float | Vector
    iterations: int
    limit: int
    best_round: ClassVar[int | None] = None

    def predict(self, x: Encoded) -> Predictions:
        from scipy.special import expit, softmax

        standard = self.standardization.transform(x)
        score = standard @ self.weights + self.intercept
        return np.asarray(expit(score) if score.ndim == 1 else softmax(score, axis=1))

    def add_to(self, graph: OnnxGraph) -> str:
        standard = self.standardization.add_to(graph, INPUT)
        several = self.weights.ndim > 1
        columns = self.weights if several else self.weights[:, None]
        score = graph.node("MatMul", standard, graph.constant(columns, np.float64))
        offset = np.reshape(self.intercept, (1, -1))
        shifted = graph.node("Add", score, graph.constant(offset, np.float64))
        if several:
            return graph.cast(graph.node("Softmax", shifted, axis=1), np.float32)
        return two_columns(graph, graph.node("Sigmoid", shifted))

    def native(self) -> None:
        return None

    def converged(self) -> Check:
        done = self.iterations < self.limit
        return Check(
            name="convergence",
            verdict=Verdict.PASS if done else Verdict.INCONCLUSIVE,
            required=False,
            observed=f"{self.iterations} iterations",
            expected=f"fewer than {self.limit}",
            why="" if done else "L-BFGS ended at train.params.max_iter: raise it",
        )


class LogisticRegression:
    name = "logistic-regression"
    title = "logistic regression"
    Parameters = LogisticRegressionParameters
    objectives: ClassVar[tuple[ObjectiveKind, ...]] = ("binary", "multiclass")
    packages: ClassVar[dict[str, str]] = SCIKIT_LEARN
    native_file = None

    def fit(
        self,
        objective: Objective,
        train: LabelledRows,
        validation: LabelledRows,  # noqa: ARG002 - nothing is stopped early
        params: LogisticRegressionParameters,
        settings: FitSettings,
        progress: Progress,
    ) -> Logistic:
        """Fit by L-BFGS; a column without variance gets scale 1."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        progress("logistic regression", 0.0)
        standardization = Standardization.of(train.x)
        model = LogisticRegression(random_state=settings.seed, **params.model_dump())
        with warnings.catch_warnings(), threadpool_limits(settings.threads):
            warnings.simplefilter("ignore", ConvergenceWarning)  # reported by converged()
            model.fit(standardization.transform(train.x), train.y)
        progress("logistic regression", 1.0)
        weights = model.coef_[0]
        intercept: float | Vector = float(model.intercept_[0])
        if objective.kind == "multiclass":
            weights, intercept = model.coef_.T, model.intercept_
            if objective.outputs == 2:  # scikit-learn gives the second class alone a score
                weights = np.concatenate([np.zeros_like(weights), weights], axis=1)
                intercept = np.concatenate([[0.0], intercept])
        return Logistic(
            standardization=standardization,
            weights=weights,
            intercept=intercept,
            iterations=int(model.n_iter_[0]),
            limit=int(model.max_iter),
        )

    def predict_native(self, path: Path, x: Encoded) -> Never:
        raise NotImplementedError(f"{self.title} has no native file")
