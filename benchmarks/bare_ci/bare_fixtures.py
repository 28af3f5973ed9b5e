"""The fixtures that the example's tests/data and tests/model take, as a conftest has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

OUT = Path("build/bare")


class Model:
    """An ONNX classifier on frames of raw features."""

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(OUT / "model/model.onnx", options)

    def predict_proba(self, rows: pd.DataFrame) -> np.ndarray:
        x = rows.to_numpy(dtype="float32")
        return self.session.run(["probabilities"], {"features": x})[0].astype(float)

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        return (self.predict_proba(rows)[:, 1] >= 0.5).astype(int)


class Baseline:
    """The predictions of the best heuristic, looked up by row."""

    def __init__(self) -> None:
        import pandas as pd

        best = json.loads((OUT / "evaluation.json").read_text())["best_heuristic"]
        self.probabilities = pd.read_parquet(OUT / "predictions.parquet")[best]

    def predict(self, rows: pd.DataFrame) -> pd.Series:
        return (self.probabilities.loc[rows.index] >= 0.5).astype(int)


def holdout() -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(OUT / "holdout.parquet").reset_index(drop=True)


@pytest.fixture(scope="session")
def df() -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(OUT / "clean.parquet")


@pytest.fixture(scope="session")
def new_model() -> Model:
    return Model()


@pytest.fixture(scope="session")
def baseline_model() -> Baseline:
    return Baseline()


@pytest.fixture(scope="session")
def X_test() -> pd.DataFrame:  # noqa: N802  the name that scikit-learn's users write
    rows = holdout()
    return rows[[name for name in rows if not name.startswith("__")]]


@pytest.fixture(scope="session")
def y_test() -> pd.Series:
    return holdout()["__label"].astype(int)
