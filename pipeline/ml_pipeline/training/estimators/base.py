"""The protocol of estimators: what a plug-in offers, what its fit takes and what it returns.

A plug-in is a class that an entry point of the group ``ml_pipeline.estimators`` names. Its module
is imported to check the configuration, so it imports nothing heavy at its top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ml_pipeline.core.report import Check, Progress
from ml_pipeline.tasks.base import Objective, ObjectiveKind

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ml_pipeline.config import Section
    from ml_pipeline.training.onnx_graph import OnnxGraph

Encoded: TypeAlias = "npt.NDArray[np.float32]"
"""Encoded features, shape [n, width]; a missing number is NaN."""
Vector: TypeAlias = "npt.NDArray[np.float64]"
"""One value a row, shape [n]."""
Predictions: TypeAlias = "npt.NDArray[np.float64]"
"""Shape [n]: the probability of class 1, or the number; [n, classes] for several classes."""

SCIKIT_LEARN = {"scikit-learn": "sklearn", "scipy": "scipy", "xgboost": "xgboost"}
"""Packages of the estimators of scikit-learn. Identities have held XGBoost's version for each of
them from the beginning, so that it stays."""

__all__ = ["Objective", "ObjectiveKind"]


@dataclass(frozen=True)
class LabelledRows:
    """Rows to learn from: encoded features and labels, class numbers or values."""

    x: Encoded
    y: Vector


@dataclass(frozen=True)
class FitSettings:
    """What holds for every estimator: seed, threads, and the limits of boosting."""

    seed: int
    threads: int
    max_epochs: int
    patience: int


class Fitted(Protocol):
    """A fitted estimator. It predicts in memory and adds itself to an ONNX graph."""

    @property
    def best_round(self) -> int | None:
        """Boosting rounds that are kept; None where there is no boosting."""

    def predict(self, x: Encoded) -> Predictions:
        """Return the prediction of every row."""

    def add_to(self, graph: OnnxGraph) -> str:
        """Add the nodes; return the name of their output: float32 [n, objective.outputs]."""

    def native(self) -> bytes | None:
        """Return the content of the estimator's native file, where it has one."""

    def converged(self) -> Check | None:
        """Return whether fitting ended by its own criterion, where it has one; advisory."""


class Estimator(Protocol):
    """A kind of model that ``train.estimator`` can name.

    Attributes:
        name: As in ``train.estimator`` and in the entry point.
        title: As in messages and documentation.
        Parameters: The keys of ``train.params``, with defaults and ranges. Its docstring and the
            descriptions of its fields are the documentation.
        objectives: The kinds of objective that it can learn.
        packages: Distributions whose version can change the model, each with the module that it
            is imported by. The versions belong to the identity, and ``ml-pipeline doctor`` imports
            the modules.
        native_file: Name of the model in the estimator's own format, ``model.`` and an ending;
            None where it has no format that is safe to load.
    """

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def Parameters(self) -> type[Section]: ...  # noqa: N802 - a class

    @property
    def objectives(self) -> tuple[ObjectiveKind, ...]: ...

    @property
    def packages(self) -> Mapping[str, str]: ...

    @property
    def native_file(self) -> str | None: ...

    def fit(
        self,
        objective: Objective,
        train: LabelledRows,
        validation: LabelledRows,
        params: Any,
        settings: FitSettings,
        progress: Progress,
    ) -> Fitted:
        """Fit on ``train``; stop early on ``validation``, where the estimator boosts.

        Args:
            objective: One of a kind in ``objectives``.
            train: The rows to learn from.
            validation: Later rows, of which nothing else may be learned.
            params: An instance of ``Parameters``.
            settings: The same seed must give the same model, for any number of threads.
            progress: Called with what is done and the share of it.

        Raises:
            UsageError: the estimator refuses the parameters.
        """

    def predict_native(self, path: Path, x: Encoded) -> Predictions:
        """Return what the model in the native file predicts; called only where there is one."""
