"""Random forest on imputed features, export through skl2onnx."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Never

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
)
from ml_pipeline.training.imputation import Medians
from ml_pipeline.training.onnx_graph import INPUT, OPSETS, OnnxGraph


class RandomForestParameters(Section):
    """scikit-learn's. A missing value becomes the median of the training part.

    The prediction is the mean over the trees' leaves.
    """

    n_estimators: int = Field(100, ge=1)
    max_depth: int | None = Field(
        10, ge=1, description="null is no limit: the export grows with it."
    )
    min_samples_leaf: int = Field(20, ge=1)
    max_features: Literal["sqrt", "log2"] | float = Field(
        "sqrt", description="How many features a split looks at; a number is a share."
    )
    criterion: Literal["gini", "entropy", "log_loss"] = "gini"


STEP = 20
"""Trees that are grown between two calls of progress."""


@dataclass(frozen=True)
class Forest:
    medians: Medians
    trees: Any
    best_round: ClassVar[int | None] = None

    def predict(self, x: Encoded) -> Predictions:
        return np.asarray(self.trees.predict_proba(self.medians.fill(x))[:, 1])

    def add_to(self, graph: OnnxGraph) -> str:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType

        model = to_onnx(
            self.trees,
            name="model",
            initial_types=[(INPUT, FloatTensorType([None, self.trees.n_features_in_]))],
            options={"zipmap": False},
            target_opset=OPSETS,
        )
        filled = self.medians.add_to(graph, INPUT)
        return graph.include(model, filled, "probabilities")

    def native(self) -> None:
        return None

    def converged(self) -> None:
        return None


class RandomForest:
    name = "random-forest"
    title = "random forest"
    Parameters = RandomForestParameters
    objectives: ClassVar[tuple[ObjectiveKind, ...]] = ("binary",)
    packages: ClassVar[dict[str, str]] = SCIKIT_LEARN
    native_file = None

    def fit(
        self,
        objective: Objective,  # noqa: ARG002 - binary is the only kind
        train: LabelledRows,
        validation: LabelledRows,  # noqa: ARG002 - nothing is stopped early
        params: RandomForestParameters,
        settings: FitSettings,
        progress: Progress,
    ) -> Forest:
        """Grow the trees a few at a time; the same seed gives the same forest."""
        from sklearn.ensemble import RandomForestClassifier

        values = params.model_dump()
        total: int = values.pop("n_estimators")
        medians = Medians.of(train.x)
        filled, labels = medians.fill(train.x), train.y.astype(np.int64)
        trees = RandomForestClassifier(
            random_state=settings.seed, n_jobs=settings.threads, warm_start=True, **values
        )
        for count in [*range(STEP, total, STEP), total]:
            trees.set_params(n_estimators=count).fit(filled, labels)
            progress("growing trees", count / total)
        trees.set_params(n_jobs=1)  # sums in one order: the same bits every time
        return Forest(medians, trees)

    def predict_native(self, path: Path, x: Encoded) -> Never:
        raise NotImplementedError(f"{self.title} has no native file")
