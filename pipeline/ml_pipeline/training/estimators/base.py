"""What an estimator is given and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ml_pipeline.core.report import Check
from ml_pipeline.training.onnx_graph import Graph

Encoded = npt.NDArray[np.float32]
"""Encoded features, shape [n, width]; a missing number is NaN."""
Vector = npt.NDArray[np.float64]
"""One value a row, shape [n]."""


@dataclass(frozen=True)
class Sample:
    """Rows to learn from: encoded features and labels, 0 or 1."""

    x: Encoded
    y: Vector


@dataclass(frozen=True)
class Settings:
    """What holds for every estimator: seed, threads, and the limits of boosting."""

    seed: int
    threads: int
    max_epochs: int
    patience: int


class Fitted(Protocol):
    """A fitted estimator. It answers in memory and adds itself to an ONNX graph."""

    @property
    def best_round(self) -> int | None:
        """Boosting rounds that are kept; None where there is no boosting."""

    def predict(self, x: Encoded) -> Vector:
        """Return the probability of class 1 of every row."""

    def add_to(self, graph: Graph) -> str:
        """Add the nodes; return the name of their output: float32 [n, 2], one column a class."""

    def native(self) -> bytes | None:
        """Return the estimator's own file format, where it has a safe one."""

    def converged(self) -> Check | None:
        """Return whether fitting ended by its own criterion, where it has one; advisory."""
