"""Features imputed and standardised by the training part: for linear estimators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml_pipeline.training.imputation import Medians

if TYPE_CHECKING:
    from ml_pipeline.training.estimators.base import Encoded, Vector
    from ml_pipeline.training.onnx_graph import OnnxGraph


@dataclass(frozen=True)
class Standardization:
    """``(x - mean) / scale`` in double precision, a missing value as the median."""

    medians: Medians
    mean: Vector
    scale: Vector

    @classmethod
    def of(cls, x: Encoded) -> Standardization:
        """Return that of the training part; a column without variance gets scale 1."""
        medians = Medians.of(x)
        filled = medians.fill(x).astype(np.float64)
        mean, scale = filled.mean(axis=0), filled.std(axis=0)
        scale[scale <= np.finfo(np.float32).eps * np.abs(mean)] = 1.0
        return cls(medians, mean, scale)

    def transform(self, x: Encoded) -> Vector:
        """Return the standardised features, shape [n, width]."""
        standard: Vector = (self.medians.fill(x).astype(np.float64) - self.mean) / self.scale
        return standard

    def add_to(self, graph: OnnxGraph, source: str) -> str:
        filled = graph.cast(self.medians.add_to(graph, source), np.float64)
        centred = graph.node("Sub", filled, graph.constant(self.mean, np.float64))
        return graph.node("Div", centred, graph.constant(self.scale, np.float64))
