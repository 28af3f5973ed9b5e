"""Random forest on imputed features, export through skl2onnx."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Never

import numpy as np
from pydantic import Field

from ml_pipeline.config import Section
from ml_pipeline.core.errors import UsageError
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

    The prediction is the mean over the trees' leaves. `criterion` is of classifications; the trees
    of a regression are split by the squared error.
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
    objective: Objective
    best_round: ClassVar[int | None] = None

    def predict(self, x: Encoded) -> Predictions:
        filled = self.medians.fill(x)
        if self.objective.kind == "regression":
            return np.asarray(self.trees.predict(filled))
        found = np.asarray(self.trees.predict_proba(filled))
        return found[:, 1] if self.objective.kind == "binary" else found

    def add_to(self, graph: OnnxGraph) -> str:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType

        model = to_onnx(
            self.trees,
            name="model",
            initial_types=[(INPUT, FloatTensorType([None, self.trees.n_features_in_]))],
            options=None if self.objective.kind == "regression" else {"zipmap": False},
            target_opset=OPSETS,
        )
        filled = self.medians.add_to(graph, INPUT)
        name = "variable" if self.objective.kind == "regression" else "probabilities"
        return graph.include(model, filled, name)

    def native(self) -> None:
        return None

    def converged(self) -> None:
        return None


class RandomForest:
    name = "random-forest"
    title = "random forest"
    Parameters = RandomForestParameters
    objectives: ClassVar[tuple[ObjectiveKind, ...]] = ("binary", "multiclass", "regression")
    packages: ClassVar[dict[str, str]] = SCIKIT_LEARN
    native_file = None

    def fit(
        self,
        objective: Objective,
        train: LabelledRows,
        validation: LabelledRows,  # noqa: ARG002 - nothing is stopped early
        params: RandomForestParameters,
        settings: FitSettings,
        progress: Progress,
    ) -> Forest:
        """Grow the trees a few at a time; the same seed gives the same forest.

        Raises:
            UsageError: ``criterion`` is set for a regression.
        """
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        values = params.model_dump()
        total: int = values.pop("n_estimators")
        medians = Medians.of(train.x)
        filled, labels = medians.fill(train.x), train.y
        kind: Any = RandomForestClassifier
        if objective.kind == "regression":
            if "criterion" in params.model_fields_set:
                raise UsageError(
                    f"train.params.criterion is {params.criterion} and problem.task is regression",
                    expected="no criterion: a regression's trees are split by the squared error",
                )
            kind = RandomForestRegressor
            del values["criterion"]
        else:
            labels = labels.astype(np.int64)
        trees = kind(random_state=settings.seed, n_jobs=settings.threads, warm_start=True, **values)
        for count in [*range(STEP, total, STEP), total]:
            trees.set_params(n_estimators=count).fit(filled, labels)
            progress("growing trees", count / total)
        trees.set_params(n_jobs=1)  # sums in one order: the same bits every time
        return Forest(medians, trees, objective)

    def predict_native(self, path: Path, x: Encoded) -> Never:
        raise NotImplementedError(f"{self.title} has no native file")
