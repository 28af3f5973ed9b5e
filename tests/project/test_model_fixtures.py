"""The values of the fixtures new_model, baseline_model, X_test and y_test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.project.model_fixtures import BaselineModel, TrainedModel, read_holdout


class HalfOfFirst:
    """Stands in for the ONNX session: half of the first encoded column, missing as 0.1."""

    def predict(self, encoded):
        assert encoded.dtype == np.float32
        return np.nan_to_num(encoded[:, 0].astype(float) / 2, nan=0.1)


SCHEMA = FeatureSchema((Feature("x", "numeric"), Feature("c", "categorical", ("a", "b"))))


@pytest.fixture
def holdout(tmp_path):
    path = tmp_path / "holdout.parquet"
    pd.DataFrame(
        {
            "__label": [1.0, np.nan, 0.0],
            "__part": "holdout",
            "x": np.array([1.0, 2.0, np.nan], dtype=np.float32),
            "c": ["a", None, "b"],
        },
        index=[7, 8, 9],
    ).to_parquet(path)
    return path


def test_holdout_is_split_into_features_and_labels(holdout):
    features, labels = read_holdout(holdout)
    assert list(features.columns) == ["x", "c"]
    assert list(features.index) == list(labels.index) == [0, 2]
    assert labels.tolist() == [1, 0]


class TestTrainedModel:
    def test_predict_returns_labels_and_predict_proba_probabilities(self, holdout):
        model = TrainedModel(HalfOfFirst(), SCHEMA)
        features, _ = read_holdout(holdout)
        assert model.predict(features).tolist() == [1, 0]
        np.testing.assert_allclose(model.predict_proba(features), [[0.5, 0.5], [0.9, 0.1]])

    def test_columns_may_come_in_any_order_but_not_be_missing(self, holdout):
        model = TrainedModel(HalfOfFirst(), SCHEMA)
        features, _ = read_holdout(holdout)
        assert model.predict(features[["c", "x"]]).tolist() == [1, 0]
        with pytest.raises(ValueError, match="x"):
            model.predict(features[["c"]])


class TestBaselineModel:
    @pytest.fixture
    def model(self, tmp_path):
        path = tmp_path / "predictions.parquet"
        pd.DataFrame({"persistence": [0.2, 0.6, 0.5]}).to_parquet(path)
        return BaselineModel.open(path, "persistence")

    def test_rows_are_looked_up_by_their_index(self, model, holdout):
        features, _ = read_holdout(holdout)
        assert model.predict_proba(features)[:, 1].tolist() == [0.2, 0.5]
        assert model.predict(features.iloc[::-1]).tolist() == [1, 0]

    def test_rows_outside_x_test_are_refused(self, model):
        with pytest.raises(KeyError, match="only for rows of X_test"):
            model.predict(pd.DataFrame({"x": [1.0]}, index=[99]))

    def test_an_unknown_predictor_is_refused(self, tmp_path):
        path = tmp_path / "predictions.parquet"
        pd.DataFrame({"base_rate": [0.5]}).to_parquet(path)
        with pytest.raises(KeyError, match="persistence"):
            BaselineModel.open(path, "persistence")
