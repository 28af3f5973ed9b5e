"""The values of the fixtures ``new_model``, ``baseline_model``, ``X_test`` and ``y_test``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.bundle.reader import OnnxModel
    from ml_pipeline.features.schema import FeatureSchema

CUT = 0.5
"""Probability from which a row is labelled 1."""


class _Labels:
    """Labels and both classes' probabilities from the probability of class 1."""

    def _probability(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        raise NotImplementedError

    def predict_proba(self, X: pd.DataFrame) -> NDArray[np.float64]:  # noqa: N803
        """Return an array [n, 2]: probability of class 0 and of class 1."""
        import numpy as np

        probability = self._probability(X)
        return np.column_stack([1.0 - probability, probability])

    def predict(self, X: pd.DataFrame) -> NDArray[np.int64]:  # noqa: N803
        """Return the class of each row: 1 from a probability of 0.5 on, else 0."""
        import numpy as np

        return (self._probability(X) >= CUT).astype(np.int64)


@dataclass(frozen=True)
class OnnxClassifier(_Labels):
    """The exported model, on frames of raw features: the same answers as the server's."""

    model: OnnxModel
    schema: FeatureSchema

    @classmethod
    def open(cls, model: Path, schema: Path) -> OnnxClassifier:
        import json

        from ml_pipeline.bundle.reader import OnnxModel
        from ml_pipeline.features.schema import FeatureSchema

        return cls(OnnxModel(model), FeatureSchema.from_json(json.loads(schema.read_text())))

    def _probability(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        columns = {name: rows[name].to_numpy() for name in rows.columns}
        return self.model.predict(self.schema.encode(columns))


@dataclass(frozen=True)
class BaselineModel(_Labels):
    """Predictions that were made for the holdout, looked up by the index of its rows."""

    name: str
    probabilities: pd.Series[float]

    @classmethod
    def open(cls, predictions: Path, column: str) -> BaselineModel:
        import pandas as pd

        frame = pd.read_parquet(predictions)
        if column not in frame.columns:
            raise KeyError(f"{predictions} holds no predictions of {column!r}")
        return cls(column, frame[column].reset_index(drop=True))

    def _probability(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        import numpy as np

        unknown = rows.index.difference(self.probabilities.index)
        if len(unknown):
            raise KeyError(
                f"baseline_model answers for rows of X_test only, which it knows by their index; "
                f"{unknown[0]!r} is none of them"
            )
        return np.asarray(self.probabilities.loc[rows.index], dtype=np.float64)


def read_holdout(path: Path) -> tuple[pd.DataFrame, pd.Series[int]]:
    """Return the raw features and the labels of the holdout's labelled rows.

    The index is the row's number in the file, which ``BaselineModel`` looks rows up by.
    """
    import pandas as pd

    frame = pd.read_parquet(path).reset_index(drop=True)
    labelled = frame[frame["__label"].notna()]
    features = labelled[[name for name in labelled.columns if not name.startswith("__")]]
    return features, labelled["__label"].astype(int).rename("label")
