"""Random forest on imputed features, export through skl2onnx."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml_pipeline.training.imputation import Medians
from ml_pipeline.training.onnx_graph import INPUT, OPSETS, Graph

if TYPE_CHECKING:
    from ml_pipeline.config import Section
    from ml_pipeline.core.report import Progress
    from ml_pipeline.training.estimators.base import Encoded, Sample, Settings, Vector

STEP = 20
"""Trees that are grown between two calls of progress."""


@dataclass(frozen=True)
class Forest:
    medians: Medians
    trees: Any
    best_round: ClassVar[int | None] = None

    def predict(self, x: Encoded) -> Vector:
        return np.asarray(self.trees.predict_proba(self.medians.fill(x))[:, 1])

    def add_to(self, graph: Graph) -> str:
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


def fit(
    train: Sample,
    validation: Sample,  # noqa: ARG001 - every estimator is called alike
    params: Section,
    settings: Settings,
    progress: Progress,
) -> Forest:
    """Grow the trees a few at a time; the same seed gives the same forest on any thread count."""
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
