"""Training on the table problem: undated rows, categories, missing values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.config import ProblemSection, SplitSection, TrainSection
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.training import onnx_export
from ml_pipeline.training.trained_model import TrainingLimits
from ml_pipeline.training.trainer import train


def auc(label, probability):
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(label, probability)


def trained_on(frame, estimator, **options):
    problem = load_problem(ProblemSection(kind="table", label="label", **options), Path("/nowhere"))
    section = TrainSection(estimator=estimator, max_epochs=100)
    trained = train(
        problem.matrix(frame, [], standard=True),
        frame,
        problem,
        SplitSection(),
        section,
        TrainingLimits(),
        lambda what, share: None,
    )
    held = trained.split.rows("holdout")
    x = trained.schema.encode({n: trained.matrix.features[n] for n in trained.schema.names})
    return trained, trained.matrix.label[held], onnx_export.predict(trained.onnx, x[held])


@pytest.mark.parametrize("estimator", ["xgboost", "logistic-regression", "random-forest"])
def test_breast_cancer(estimator):
    from sklearn.datasets import load_breast_cancer

    features, label = load_breast_cancer(return_X_y=True, as_frame=True)
    trained, held, answers = trained_on(features.assign(label=label), estimator)
    assert trained.split.method == "hash"
    assert sum(trained.split.counts().values()) == 569
    assert auc(held, answers) > 0.95


@pytest.mark.parametrize("estimator", ["xgboost", "logistic-regression", "random-forest"])
def test_categories_and_gaps(estimator):
    generator = np.random.default_rng(0)
    count = 3000
    colour = generator.choice(np.array(["red", "green", "blue", None], dtype=object), count)
    size = np.where(generator.random(count) < 0.2, np.nan, generator.normal(size=count))
    score = (colour == "red") * 2.0 + np.nan_to_num(size) + generator.logistic(size=count)
    frame = pd.DataFrame(
        {"colour": pd.Series(colour, dtype="str"), "size": size, "label": (score > 1).astype(int)}
    )
    trained, held, answers = trained_on(frame, estimator, categorical=("colour",))
    assert trained.schema.encoded_names == ("colour=blue", "colour=green", "colour=red", "size")
    assert trained.parity.isna().any()[["colour", "size"]].all()
    assert 0.7 < auc(held, answers) < 0.9
