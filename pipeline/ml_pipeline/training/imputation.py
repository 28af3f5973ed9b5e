"""Missing values become the training part's medians: for estimators that cannot take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ml_pipeline.training.estimators.base import Encoded
    from ml_pipeline.training.onnx_graph import OnnxGraph


@dataclass(frozen=True)
class Medians:
    """One float32 median a column; 0 for a column that training saw empty."""

    values: Encoded

    @classmethod
    def of(cls, x: Encoded) -> Medians:
        values = np.zeros(x.shape[1], dtype=np.float32)
        filled = ~np.isnan(x).all(axis=0)
        values[filled] = np.nanmedian(x[:, filled], axis=0)
        return cls(values)

    def fill(self, x: Encoded) -> Encoded:
        return np.where(np.isnan(x), self.values, x)

    def add_to(self, graph: OnnxGraph, source: str) -> str:
        missing = graph.node("IsNaN", source)
        return graph.node("Where", missing, graph.constant(self.values, np.float32), source)
