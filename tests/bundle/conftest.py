"""A trained model's folder without training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from ml_pipeline.bundle import writer
from ml_pipeline.bundle.identity import identity
from ml_pipeline.config import Project
from ml_pipeline.core.report import Profile
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.training.training_record import Cutoffs, TrainingRecord

ROWS = 32 + 10_000
SCHEMA = FeatureSchema(
    (
        Feature("a", "numeric", (), -3.0, 3.0),
        Feature("b", "numeric", (), 0.0, 1.0),
        Feature("colour", "categorical", ("blue", "red")),
    )
)
WEIGHTS = np.array([[1.0], [-0.5], [0.25], [-0.25]], dtype=np.float32)
GRAPH = """
    <ir_version: 9, opset_import: ["": 17]>
    model (float[N, 4] features) => (float[N, 2] probabilities)
    <float[4, 1] weights = {1.0, -0.5, 0.25, -0.25}, float zero = {0.0}, float one = {1.0}>
    {
        missing = IsNaN(features)
        filled = Where(missing, zero, features)
        score = MatMul(filled, weights)
        positive = Sigmoid(score)
        negative = Sub(one, positive)
        probabilities = Concat<axis = 1>(negative, positive)
    }
"""


def rows() -> pd.DataFrame:
    """Return 32 golden and 10,000 random rows with what the model answers to them."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": random.normal(size=ROWS).astype(np.float32),
            "b": random.random(ROWS).astype(np.float32),
            "colour": pd.Series(random.choice(["blue", "red"], ROWS), dtype=object),
        }
    )
    frame.loc[::5, "a"] = np.nan
    frame.loc[::7, "colour"] = None
    encoded = np.nan_to_num(SCHEMA.encode(frame)).astype(np.float64)
    frame["__probability"] = 1 / (1 + np.exp(-(encoded @ WEIGHTS)[:, 0]))
    frame["__golden"] = np.arange(ROWS) < 32
    return frame


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Write ``model/`` as train leaves it: numbers ``a`` and ``b``, category ``colour``."""

    def make(
        project: Project,
        folder: Path | None = None,
        frame: pd.DataFrame | None = None,
        estimator: str = "logistic-regression",
    ) -> Path:
        folder = folder or tmp_path / "model"
        folder.mkdir(parents=True, exist_ok=True)
        frame = rows() if frame is None else frame
        frame.to_parquet(folder / "parity.parquet", index=False)
        sample = frame.drop(columns="__golden").head(100)
        sample.to_parquet(folder / "reference.parquet", index=False)
        (folder / "model.onnx").write_bytes(onnx.parser.parse_model(GRAPH).SerializeToString())
        (folder / "schema.json").write_text(json.dumps(SCHEMA.to_json()))
        made = identity(project, "f" * 64, schema=SCHEMA)
        record = TrainingRecord(
            project=project.config.project,
            problem=project.config.problem.kind,
            estimator=estimator,
            params={},
            best_round=None,
            calibration="none",
            seed=project.config.train.seed,
            profile=Profile.FULL,
            rows={"train": 100, "validation": 20, "embargo": 1, "holdout": 40, "unlabelled": 1},
            cutoffs=Cutoffs(
                train_end="2024-01-01",
                validation_end="2024-02-01",
                holdout_start="2024-02-05",
                holdout_end="2024-04-01",
            ),
            split={"method": "time"},
            positive_rate=0.45,
            fingerprint="f" * 64,
            identity=made.digest,
            identity_parts=dict(made.parts),
        )
        (folder / "training.json").write_text(json.dumps(record.to_json()))
        return folder

    return make


@pytest.fixture
def bundle(tmp_path: Path, make_project: Callable[..., Project], make_model) -> Path:
    """Return the folder of a bundle around that model."""
    project = make_project()
    return writer.write(tmp_path / "bundle", model=make_model(project), project=project).path


@pytest.fixture
def whole_bundle(tmp_path: Path, make_project: Callable[..., Project], make_model) -> Path:
    """Return the folder of a bundle with every file that there may be."""
    project = make_project("whole")
    model = make_model(project, tmp_path / "whole-model", estimator="xgboost")
    (model / "model.ubj").write_bytes(b"the native model")
    return writer.write(tmp_path / "whole-bundle", model=model, project=project).path
