"""The values of the fixtures ``new_model``, ``baseline_model``, ``X_test`` and ``y_test``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.artefacts import LABEL_COLUMN
from ml_pipeline.tasks.base import from_column
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.bundle.reader import OnnxModel
    from ml_pipeline.features.schema import FeatureSchema
    from ml_pipeline.tasks.base import Task


class _Predictor:
    """``predict`` and ``predict_proba`` from a task's predictions."""

    task: Task

    def _predictions(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        raise NotImplementedError

    def predict_proba(self, X: pd.DataFrame) -> NDArray[np.float64]:  # noqa: N803
        """Return an array [n, k]: the probability of each class; 0 and 1 where there are two.

        Raises:
            AttributeError: the model is not a classifier.
        """
        import numpy as np

        if self.task.objective.kind == "regression":
            raise AttributeError(f"a {self.task.title} has no predict_proba; use predict")
        found = self._predictions(X)
        return found if found.ndim > 1 else np.column_stack([1.0 - found, found])

    def predict(self, X: pd.DataFrame) -> NDArray[Any]:  # noqa: N803
        """Return the class of each row (1 from a probability of 0.5 on), or the number."""
        found: NDArray[Any] = self.task.class_of(self._predictions(X))
        return found


@dataclass(frozen=True)
class TrainedModel(_Predictor):
    """The exported model on frames of raw features, with the same predictions as the server."""

    model: OnnxModel
    schema: FeatureSchema
    task: Task = BINARY

    @classmethod
    def open(cls, model: Path, schema: Path, task: Task = BINARY) -> TrainedModel:
        import json

        from ml_pipeline.bundle.reader import OnnxModel
        from ml_pipeline.features.schema import FeatureSchema

        loaded = FeatureSchema.from_json(json.loads(schema.read_text()))
        return cls(OnnxModel(model, task), loaded, task)

    def _predictions(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        columns = {name: rows[name].to_numpy() for name in rows.columns}
        return self.model.predict(self.schema.encode(columns))


@dataclass(frozen=True)
class BaselineModel(_Predictor):
    """Predictions that were made for the holdout, looked up by the index of its rows."""

    name: str
    predictions: pd.Series[Any]
    task: Task = BINARY

    @classmethod
    def open(cls, predictions: Path, column: str, task: Task = BINARY) -> BaselineModel:
        import pandas as pd

        frame = pd.read_parquet(predictions)
        if column not in frame.columns:
            raise KeyError(f"{predictions} has no predictions of {column!r}")
        return cls(column, frame[column].reset_index(drop=True), task)

    def _predictions(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        unknown = rows.index.difference(self.predictions.index)
        if len(unknown):
            raise KeyError(
                f"baseline_model has predictions only for rows of X_test, by their index; "
                f"{unknown[0]!r} is not one of them"
            )
        return from_column(self.predictions.loc[rows.index])


def read_holdout(path: Path, task: Task = BINARY) -> tuple[pd.DataFrame, pd.Series[Any]]:
    """Return the raw features and the labels of the holdout's labelled rows.

    The index is the row's number in the file, which ``BaselineModel`` looks rows up by.
    """
    import pandas as pd

    frame = pd.read_parquet(path).reset_index(drop=True)
    labelled = frame[frame[LABEL_COLUMN].notna()]
    features = labelled[[name for name in labelled.columns if not name.startswith("__")]]
    labels = task.label_of(labelled[LABEL_COLUMN].to_numpy(dtype="float64"))
    return features, pd.Series(labels, index=labelled.index, name="label")
