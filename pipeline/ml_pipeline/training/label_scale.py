"""Scaling of a regression's labels to mean 0 and variance 1, and of predictions back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml_pipeline.training.onnx_graph import OnnxGraph

if TYPE_CHECKING:
    from ml_pipeline.core.report import Check
    from ml_pipeline.training.estimators.base import Vector


@dataclass(frozen=True)
class LabelScale:
    """``label = mean + scale * scaled``, in memory and in ONNX, in double precision."""

    mean: float
    scale: float

    def scaled(self, label: Vector) -> Vector:
        """Return labels as the estimator learns them."""
        return np.asarray((label - self.mean) / self.scale)

    def apply(self, prediction: Vector) -> Vector:
        """Return the estimator's predictions in the label's own unit."""
        return np.asarray(self.mean + self.scale * prediction)

    def add_to(self, graph: OnnxGraph, prediction: str) -> str:
        """Add the nodes that :meth:`apply` computes; both values are float32 [n, 1]."""
        scale = graph.constant([[self.scale]], np.float64)
        mean = graph.constant([[self.mean]], np.float64)
        product = graph.node("Mul", graph.cast(prediction, np.float64), scale)
        return graph.cast(graph.node("Add", product, mean), np.float32)

    def check(self) -> Check | None:
        """Return None: there is nothing to say about it."""
        return None
