"""Conversion of fitted estimators of several libraries, and refused results of the process."""

from __future__ import annotations

import io

import numpy as np
import pytest
from ml_pipeline.core.errors import Refused
from ml_pipeline.project import estimator_process
from ml_pipeline.training.estimators import own
from ml_pipeline.training.estimators.base import LabelledRows, Objective

BINARY = Objective("binary", 2)
THREE = Objective("multiclass", 3)
REGRESSION = Objective("regression", 1)


def rows(objective, count=400):
    generator = np.random.default_rng(3)
    x = generator.normal(size=(count, 4)).astype(np.float32)
    score = x[:, 0] + generator.normal(size=count) / 2
    if objective.kind == "regression":
        return LabelledRows(x, score)
    return LabelledRows(x, np.digitize(score, [0.0] if objective.outputs == 2 else [-0.6, 0.6]))


def lightgbm(objective):
    import lightgbm

    kind = lightgbm.LGBMRegressor if objective.kind == "regression" else lightgbm.LGBMClassifier
    return kind(n_estimators=8, num_leaves=7, verbosity=-1, n_jobs=1)


def xgboost(objective):
    import xgboost

    kind = xgboost.XGBRegressor if objective.kind == "regression" else xgboost.XGBClassifier
    return kind(n_estimators=8, max_depth=3, n_jobs=1)


def forest(objective):
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestRegressor if objective.kind == "regression" else RandomForestClassifier
    return kind(n_estimators=8, random_state=1)


@pytest.mark.parametrize("objective", [BINARY, THREE, REGRESSION], ids=lambda each: each.kind)
@pytest.mark.parametrize("make", [lightgbm, xgboost, forest])
def test_a_pipeline_converts_and_predicts_the_same(make, objective):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    sample = rows(objective)
    pipeline = make_pipeline(StandardScaler(), make(objective)).fit(sample.x, sample.y)
    content = estimator_process._to_onnx("my:Model", pipeline, objective, 4)
    own.check_model("my:Model", content, objective, 4)
    predicted = own.predict(content, sample.x, objective)
    if objective.kind == "regression":
        expected = pipeline.predict(sample.x)
    else:
        expected = pipeline.predict_proba(sample.x)
        expected = expected[:, 1] if objective.kind == "binary" else expected
    assert predicted.shape == expected.shape
    assert np.median(np.abs(predicted - expected)) < 1e-5


class TestOnnx:
    def model(self, **changes):
        from onnx import TensorProto, helper

        nodes = [
            helper.make_node(
                "Identity", ["features"], ["probabilities"], domain=changes.get("domain", "")
            )
        ]
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])
            for name in (changes.get("input", "features"), changes.get("output", "probabilities"))
        ]
        nodes[0].input[0], nodes[0].output[0] = (end.name for end in ends)
        graph = helper.make_graph(nodes, "model", ends[:1], ends[1:])
        domains = {"": 15} | ({"com.own": 1} if changes.get("domain") else {})
        opsets = [helper.make_opsetid(*one) for one in domains.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()

    def test_a_model_with_the_served_inputs_and_outputs_is_accepted(self):
        own.check_model("my:Model", self.model(), BINARY, 2)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"domain": "com.own"}, "has operators of com.own"),
            ({"input": "x"}, r"has inputs \['x'\]"),
            ({"output": "y"}, r"outputs \['y'\]"),
        ],
    )
    def test_a_model_with_other_inputs_or_outputs_is_refused(self, changes, message):
        with pytest.raises(Refused, match=message):
            own.check_model("my:Model", self.model(**changes), BINARY, 2)

    @pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"onnx"])
    def test_bytes_that_are_not_onnx_are_refused(self, content):
        with pytest.raises(Refused, match="my:Model"):
            own.check_model("my:Model", content, BINARY, 2)

    def test_a_model_with_external_data_is_refused(self, tmp_path):
        import onnx
        from onnx import numpy_helper

        model = onnx.load_from_string(self.model())
        tensor = numpy_helper.from_array(np.zeros(2, np.float32), "weights")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../secret")
        model.graph.initializer.append(tensor)
        with pytest.raises(Refused, match="my:Model"):
            own.check_model("my:Model", model.SerializeToString(), BINARY, 2)


class TestPredictions:
    def written(self, values):
        content = io.BytesIO()
        np.save(content, values, allow_pickle=True)
        return content.getvalue()

    def test_a_pickled_array_is_not_read(self):
        with pytest.raises(Refused, match="cannot be read"):
            estimator_process._array("my:Model", self.written(np.array([{}], dtype=object)))

    @pytest.mark.parametrize(
        "values", [np.zeros(3, np.float32), np.zeros((2, 2, 2)), np.array("x")]
    )
    def test_an_array_of_another_dtype_or_shape_is_refused(self, values):
        with pytest.raises(Refused, match="not float64"):
            estimator_process._array("my:Model", self.written(values))
