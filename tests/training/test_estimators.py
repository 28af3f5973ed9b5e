"""Every estimator, with and without calibration: it fits, exports exactly, and repeats itself."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from ml_pipeline.training import onnx_export
from ml_pipeline.training.estimators.base import FitSettings, LabelledRows
from ml_pipeline.training.estimators.lightgbm import LightGBMParameters, float32_thresholds
from ml_pipeline.training.estimators.loader import (
    check_parameters,
    installed_estimators,
    load_estimator,
)
from ml_pipeline.training.estimators.xgboost import XGBoostParameters
from ml_pipeline.training.fitting import Recipe, fit
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]

SETTINGS = FitSettings(seed=7, threads=1, max_epochs=30, patience=5)
SMALL = {
    "xgboost": {"max_depth": 3},
    "random-forest": {"n_estimators": 25, "max_depth": 6},
    "lightgbm": {"num_leaves": 7},
}
"""Parameters that keep the tests quick; the other estimators have their defaults."""
ESTIMATORS = sorted(
    name for name, each in installed_estimators().items() if "binary" in each.objectives
)


def quiet(what, share):
    pass


def rows(count, seed, *, scale=1.0):
    """Six numbers, the first tells the label; a tenth is missing; the last column is empty."""
    generator = np.random.default_rng(seed)
    x = (generator.normal(size=(count, 6)) * scale).astype(np.float32)
    x[:, 4] = generator.integers(0, 2, count)
    signal = x[:, 0] / scale + generator.normal(size=count)
    x[generator.random(x.shape) < 0.1] = np.nan
    x[:, 5] = np.nan
    return LabelledRows(x, (signal > 0).astype(np.float64))


def recipe_of(name, params=None, calibration="none"):
    estimator = load_estimator(name)
    return Recipe(
        estimator, check_parameters(estimator, params or SMALL.get(name, {})), calibration
    )


def trained(estimator, calibration="none", *, settings=SETTINGS, scale=1.0, progress=quiet):
    recipe = recipe_of(estimator, calibration=calibration)
    return fit(recipe, rows(1500, 1, scale=scale), rows(400, 2, scale=scale), settings, progress)


@pytest.mark.parametrize("scale", [1.0, 1e6])
@pytest.mark.parametrize("calibration", ["none", "sigmoid", "isotonic"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_export_gives_the_same_answers(estimator, calibration, scale):
    model = trained(estimator, calibration, scale=scale)
    unseen = rows(5000, 3, scale=scale).x
    assert np.isnan(unseen).any(axis=0).all()
    onnx = onnx_export.to_onnx(model, 6)
    assert onnx_export.prove(model, onnx, unseen) <= 1e-5
    answers = model.predict(unseen)
    assert answers.std() > 0.05
    assert ((answers > 0) & (answers < 1)).all()


def rare(positives, count=1000, *, at_random=True):
    """Rows of which a few are positive; ``at_random`` or wherever the first feature is large."""
    sample = rows(count, 4)
    order = np.random.default_rng(5).permutation(count)
    if not at_random:
        order = np.argsort(-np.nan_to_num(sample.x[:, 0]))
    y = np.zeros(count)
    y[order[:positives]] = 1.0
    return LabelledRows(sample.x, y)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("positives", [1, 5, 500, 995, 999])
@pytest.mark.parametrize("at_random", [True, False])
def test_the_export_of_rare_labels_gives_the_same_answers(estimator, positives, at_random):
    sample = rare(positives, at_random=at_random)
    recipe = recipe_of(estimator)
    model = fit(recipe, sample, sample, SETTINGS, quiet)
    assert onnx_export.prove(model, onnx_export.to_onnx(model, 6), rows(500, 3).x) <= 1e-5


@pytest.mark.parametrize("balance", [0.5, 0.002])
@pytest.mark.parametrize("params", [{"gamma": 1e6}, {"min_child_weight": 1e6}, {"max_depth": 1}])
def test_trees_of_one_leaf_are_exported_right(balance, params):
    sample = rare(int(1000 * balance))
    recipe = recipe_of("xgboost", params | {"reg_lambda": 1.0})
    model = fit(recipe, sample, sample, SETTINGS, quiet)
    assert onnx_export.prove(model, onnx_export.to_onnx(model, 6), rows(500, 3).x) <= 1e-5


@pytest.mark.parametrize("calibration", ["none", "isotonic"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_same_inputs_give_the_same_bytes(estimator, calibration):
    first, second = (trained(estimator, calibration) for _ in range(2))
    assert onnx_export.to_onnx(first, 6) == onnx_export.to_onnx(second, 6)
    assert first.fitted.native() == second.fitted.native()


@pytest.mark.parametrize("estimator", ["lightgbm", "xgboost", "random-forest"])
def test_the_number_of_threads_changes_nothing(estimator):
    one = trained(estimator)
    two = trained(estimator, settings=FitSettings(seed=7, threads=2, max_epochs=30, patience=5))
    assert onnx_export.to_onnx(one, 6) == onnx_export.to_onnx(two, 6)
    assert one.fitted.native() == two.fitted.native()


@pytest.mark.parametrize("estimator", ["lightgbm", "xgboost", "random-forest"])
def test_another_seed_gives_another_model(estimator):
    other = trained(estimator, settings=FitSettings(seed=8, threads=1, max_epochs=30, patience=5))
    assert onnx_export.to_onnx(trained(estimator), 6) != onnx_export.to_onnx(other, 6)


def test_values_on_a_threshold_go_the_same_way_in_onnx():
    """A forest's thresholds are doubles between two float32 values; ONNX has float32 only."""
    generator = np.random.default_rng(5)
    x = generator.integers(0, 7, (4000, 6)).astype(np.float32) / np.float32(3)
    x[:, 1] = np.nextafter(x[:, 0], np.float32(9))
    sample = LabelledRows(x, (x[:, 0] + generator.normal(size=4000) > 1).astype(float))
    for estimator in ("lightgbm", "xgboost", "random-forest"):
        recipe = recipe_of(estimator)
        model = fit(recipe, sample, sample, SETTINGS, quiet)
        assert onnx_export.prove(model, onnx_export.to_onnx(model, 6), x) <= 1e-5


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_features_that_say_nothing_still_fit_and_export(estimator):
    x = np.full((200, 3), np.nan, dtype=np.float32)
    x[:, 0] = 4.0
    sample = LabelledRows(x, np.tile([0.0, 1.0, 0.0, 0.0], 50))
    recipe = recipe_of(estimator)
    model = fit(recipe, sample, sample, SETTINGS, quiet)
    assert model.predict(x) == pytest.approx(np.full(200, 0.25), abs=0.05)
    assert onnx_export.prove(model, onnx_export.to_onnx(model, 3), x) <= 1e-5


class TestBoosting:
    def test_stops_early_and_keeps_the_best_round_only(self):
        model = trained(
            "xgboost", settings=FitSettings(seed=7, threads=1, max_epochs=500, patience=5)
        )
        assert model.fitted.best_round < 200
        assert model.fitted.rounds == model.fitted.best_round + 5
        assert model.fitted.trees.num_boosted_rounds() == model.fitted.best_round
        (check,) = model.checks()
        assert (check.name, check.verdict) == ("early stopping", "pass")

    def test_reports_that_the_round_limit_ended_training(self):
        model = trained(
            "xgboost", settings=FitSettings(seed=7, threads=1, max_epochs=2, patience=5)
        )
        (check,) = model.checks()
        assert (check.verdict, check.required) == ("inconclusive", False)
        assert "max_epochs" in check.why

    def test_reports_progress(self):
        calls = []
        trained("xgboost", progress=lambda what, share: calls.append((what, share)))
        assert {what for what, _ in calls} == {"boosting"}
        shares = [share for _, share in calls]
        assert shares == sorted(shares)
        assert 0 < shares[0] < shares[-1] <= 1

    def test_an_interrupt_while_boosting_gets_through(self):
        def interrupt(what, share):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            trained("xgboost", progress=interrupt)

    def test_every_parameter_has_the_name_that_xgboost_uses(self):
        import xgboost

        def complaints(params):
            sample = rows(100, 1)
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter("always")
                xgboost.train(
                    {"validate_parameters": True, "verbosity": 1, **params},
                    xgboost.DMatrix(sample.x, sample.y),
                    1,
                )
            return [str(warning.message) for warning in found]

        assert complaints(XGBoostParameters().model_dump()) == []
        assert any("max_dept" in text for text in complaints({"max_dept": 3}))

    def test_the_native_file_gives_the_uncalibrated_answers(self, tmp_path):
        import xgboost

        model = trained("xgboost")
        path = tmp_path / "model.ubj"
        path.write_bytes(model.fitted.native())
        loaded = xgboost.Booster(model_file=path)
        x = rows(300, 4).x
        assert np.array_equal(loaded.inplace_predict(x), model.predict(x).astype(np.float32))


class TestLightGBM:
    @staticmethod
    def without_gaps(count, seed):
        sample = rows(count, seed)
        return LabelledRows(np.nan_to_num(sample.x, nan=0.25), sample.y)

    def test_stops_early_and_keeps_the_best_round_only(self):
        settings = FitSettings(seed=7, threads=1, max_epochs=500, patience=5)
        model = trained("lightgbm", settings=settings)
        assert model.fitted.rounds == model.fitted.best_round + 5
        assert model.fitted.trees.num_trees() == model.fitted.best_round
        (check,) = model.checks()
        assert (check.name, check.verdict) == ("early stopping", "pass")

    def test_reports_when_the_limit_ended_it(self):
        settings = FitSettings(seed=7, threads=1, max_epochs=2, patience=5)
        (check,) = trained("lightgbm", settings=settings).checks()
        assert (check.verdict, check.required) == ("inconclusive", False)

    @pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
    def test_a_missing_value_in_a_column_that_had_none_is_exported_right(self, shift):
        """LightGBM takes it for 0 then, on whichever side of a threshold that is."""
        train, watched = self.without_gaps(1500, 1), self.without_gaps(400, 2)
        shifted = [LabelledRows(part.x + np.float32(shift), part.y) for part in (train, watched)]
        model = fit(recipe_of("lightgbm"), *shifted, SETTINGS, quiet)
        unseen = rows(5000, 3).x + np.float32(shift)
        assert onnx_export.prove(model, onnx_export.to_onnx(model, 6), unseen) <= 1e-5

    def test_predicts_as_the_booster_did_before_its_thresholds_were_rounded(self):
        import lightgbm

        x = np.repeat(np.arange(1, 41, dtype=np.float32) / np.float32(7), 50)[:, None]
        label = np.tile([0.0, 1.0], 1000)
        x[label == 1] = np.nextafter(x[label == 1], np.float32(9))
        booster = lightgbm.train(
            {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 60},
            lightgbm.Dataset(x, label),
            20,
        )
        expected = booster.predict(x)
        assert ((expected > 0.5) == (label == 1)).all(), (
            "neighbouring float32 values are distinguished"
        )
        text = float32_thresholds(booster.model_to_string())
        assert np.array_equal(lightgbm.Booster(model_str=text).predict(x), expected)
        assert "num_threads" not in text

    def test_every_parameter_has_the_name_that_lightgbm_uses(self, capfd):
        import lightgbm

        def complaints(params):
            sample = rows(100, 1)
            lightgbm.train(
                params | {"objective": "binary", "verbosity": 0, "num_threads": 1},
                lightgbm.Dataset(sample.x, sample.y),
                1,
            )
            captured = capfd.readouterr()
            return captured.out + captured.err

        assert "Unknown parameter" not in complaints(LightGBMParameters().model_dump())
        assert "Unknown parameter: num_leafs" in complaints({"num_leafs": 3})

    def test_the_native_file_gives_the_uncalibrated_answers(self, tmp_path):
        model = trained("lightgbm", "sigmoid")
        path = tmp_path / "model.lgbm"
        path.write_bytes(model.fitted.native())
        x = rows(300, 4).x
        predicted = load_estimator("lightgbm").predict_native(path, x)
        assert np.array_equal(predicted, model.fitted.predict(x))


class TestLinear:
    def test_agrees_with_scikit_learns_pipeline(self):
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        sample = rows(1500, 1)
        pipeline = make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            StandardScaler(),
            LogisticRegression(tol=1e-8, max_iter=500),
        ).fit(sample.x.astype(float), sample.y)
        unseen = rows(500, 3).x
        expected = pipeline.predict_proba(unseen.astype(float))[:, 1]
        assert trained("logistic-regression").predict(unseen) == pytest.approx(expected, abs=1e-4)

    def test_reports_non_convergence(self):
        recipe = recipe_of("logistic-regression", {"max_iter": 1})
        (check,) = fit(recipe, rows(500, 1), rows(200, 2), SETTINGS, quiet).checks()
        assert (check.name, check.verdict) == ("convergence", "inconclusive")
        assert "max_iter" in check.why


class TestExport:
    def test_the_model_has_one_input_and_one_output(self):
        import onnx

        model = onnx.load_from_string(onnx_export.to_onnx(trained("random-forest", "sigmoid"), 6))
        (entry,), (output,) = model.graph.input, model.graph.output
        assert (entry.name, output.name) == ("features", "probabilities")
        assert entry.type.tensor_type.shape.dim[1].dim_value == 6
        assert output.type.tensor_type.shape.dim[1].dim_value == 2

    def test_the_export_has_no_machine_name_or_date(self):
        import onnx

        model = onnx.load_from_string(onnx_export.to_onnx(trained("xgboost"), 6))
        assert model.producer_name == "jenkins-ml-pipeline"
        assert (model.producer_version, model.doc_string, model.graph.name) == ("", "", "model")
        assert not model.metadata_props

    def test_both_columns_sum_to_one(self):
        import onnxruntime

        session = onnxruntime.InferenceSession(
            onnx_export.to_onnx(trained("xgboost", "isotonic"), 6)
        )
        (found,) = session.run(None, {"features": rows(200, 4).x})
        assert found.sum(axis=1) == pytest.approx(np.ones(200), abs=1e-6)

    def test_an_export_of_another_model_is_refused(self):
        from ml_pipeline.core.errors import Refused

        model = trained("xgboost")
        other = onnx_export.to_onnx(trained("logistic-regression"), 6)
        with pytest.raises(Refused, match="xgboost: the exported model differs") as refusal:
            onnx_export.prove(model, other, rows(500, 4).x)
        assert refusal.value.expected == "at most 1e-05"

    def test_no_rows_prove_nothing(self):
        from ml_pipeline.core.errors import Refused

        model = trained("xgboost")
        with pytest.raises(Refused, match="0 of 0 answers"):
            onnx_export.prove(
                model, onnx_export.to_onnx(model, 6), np.zeros((0, 6), dtype=np.float32)
            )

    def test_a_converter_that_fails_is_one_line_that_names_the_estimator(self):
        from ml_pipeline.core.errors import Refused

        class Broken:
            estimator = load_estimator("xgboost")

            def add_to(self, graph):
                raise NotImplementedError("no converter\nfor this")

        with pytest.raises(Refused, match=r"^xgboost cannot be exported: NotImplementedError: no"):
            onnx_export.to_onnx(Broken(), 6)


class TestImageForRawRows:
    """The lock of docker/server-raw.Dockerfile, which bin/lock writes."""

    def test_lists_the_dependencies_of_every_estimator(self):
        done = subprocess.run(
            [sys.executable, REPOSITORY / "bin/estimator-requirements"],
            capture_output=True,
            text=True,
            check=True,
        )
        names = {Requirement(line).name for line in done.stdout.splitlines()}
        assert names == {"lightgbm", "scikit-learn", "scipy", "xgboost", "xgboost-cpu"}

    def test_has_the_packages_of_every_estimator(self):
        locked = {
            line.split("==")[0]
            for line in (REPOSITORY / "requirements-raw.txt").read_text().splitlines()
            if "==" in line
        }
        for estimator in installed_estimators().values():
            assert {*estimator.packages} <= locked, estimator.name
