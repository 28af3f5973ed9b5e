"""Stage package: no bundle unless what is served answers as what was trained."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import report, workdir
from ml_pipeline.core.report import StageReport, Verdict
from ml_pipeline.stages.runner import execute

from tests.bundle.conftest import make_model, rows  # noqa: F401 - a fixture


@pytest.fixture
def project(make_project):
    return make_project()


@pytest.fixture
def package(project, make_context, make_model):  # noqa: F811
    """Leave ``model/`` and its report as train does, then run the stage."""

    def run(frame=None, damage=None, **record):
        context = make_context(project, "package")
        model = make_model(project, context.workdir / "model", frame)
        if record:
            path = model / "training.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | record))
        if damage is not None:
            damage(model)
        now = datetime.now(UTC)
        trained = StageReport(
            stage="train",
            verdict=Verdict.PASS,
            summary="",
            outputs={
                context.workdir.name_of(path): workdir.digest(path) for path in model.iterdir()
            },
            run_id="test-run",
            started=now,
            finished=now,
        )
        report.write(trained, context.workdir)
        return execute(context), context

    return run


def verdicts(result):
    return {check.name: check.verdict for check in result.report.checks}


def test_writes_a_bundle_that_opens(package, project):
    result, context = package()
    assert result.exit_code == 0
    bundle = Bundle.open(context.workdir / "bundle")
    assert result.report.model.digest == bundle.digest
    assert result.report.outputs["bundle"] == workdir.digest(bundle.path)
    assert verdicts(result) == {
        "ONNX on golden rows": "pass",
        "ONNX on random rows": "pass",
        "bundle opens and answers its golden rows": "pass",
    }
    assert result.report.metrics["ONNX on random rows"] < 1e-6


@pytest.mark.parametrize(
    ("row", "value", "failing"),
    [
        (5, 0.9, "ONNX on golden rows"),
        (5_000, 0.9, "ONNX on random rows"),
        (5_000, np.nan, "ONNX on random rows"),
        (5_000, np.inf, "ONNX on random rows"),
    ],
)
def test_one_row_that_differs_is_a_no(package, row, value, failing):
    frame = rows()
    frame.loc[row, "__probability"] = value
    result, context = package(frame)
    assert result.exit_code == 1
    assert verdicts(result)[failing] == "fail"
    assert result.report.outputs == {}
    assert not list((context.workdir / "bundle").iterdir())


def test_a_difference_within_the_tolerance_passes_and_one_above_does_not(package):
    frame = rows()
    frame["__probability"] += 9e-6
    assert package(frame)[0].exit_code == 0
    frame["__probability"] += 2e-6
    assert package(frame)[0].exit_code == 1


@pytest.mark.parametrize("keep", ["golden", "random", "none"])
def test_too_few_rows_prove_nothing(package, keep):
    frame = rows()
    golden = frame["__golden"]
    kept = {"golden": frame[golden], "random": frame[~golden], "none": frame.head(0)}[keep]
    result, _ = package(kept.reset_index(drop=True))
    assert result.exit_code == 1
    assert "fail" in verdicts(result).values()


def test_a_model_that_is_no_onnx_is_a_no_in_one_line(package):
    result, _ = package(damage=lambda model: (model / "model.onnx").write_bytes(b"x"))
    assert result.exit_code == 1
    assert "ONNX Runtime cannot load" in result.report.summary


def test_files_that_are_not_those_of_train_are_refused(package, project, make_context):
    _, context = package()
    (context.workdir / "model/model.onnx").write_bytes(b"x")
    result = execute(make_context(project, "package"))
    assert result.exit_code == 2
    assert "is not what train made" in result.report.summary


def test_code_that_changed_since_train_is_refused(package):
    result, _ = package(identity_parts={"data": "f" * 64})
    assert result.exit_code == 2
    assert "no longer what the model was trained by" in result.report.summary


class TestNative:
    def write(self, model, frame, *, rounds=3):
        """Put an XGBoost model beside, and let the parity rows tell its answers."""
        import xgboost

        from tests.bundle.conftest import SCHEMA

        encoded = SCHEMA.encode(frame)
        label = frame["a"].fillna(0).to_numpy() > 0
        booster = xgboost.train(
            {"objective": "binary:logistic", "nthread": 1},
            xgboost.DMatrix(encoded, label),
            rounds,
        )
        (model / "model.ubj").write_bytes(booster.save_raw("ubj"))

    def test_that_disagrees_is_a_no(self, package):
        frame = rows()
        result, _ = package(
            frame, damage=lambda model: self.write(model, frame), estimator="xgboost"
        )
        assert result.exit_code == 1
        assert verdicts(result)["native XGBoost on all rows"] == "fail"

    def test_is_not_compared_where_a_calibration_comes_after_it(self, package):
        frame = rows()
        result, context = package(
            frame,
            damage=lambda model: self.write(model, frame),
            estimator="xgboost",
            calibration="sigmoid",
        )
        assert result.exit_code == 0
        assert verdicts(result)["native XGBoost on all rows"] == "skipped"
        assert "model.ubj" in Bundle.open(context.workdir / "bundle").manifest["files"]


class TestImage:
    """--image and --push; the engine's part is tested in tests/docker/test_bundle_image.py."""

    @pytest.fixture
    def project(self, make_project):
        kubernetes = {"target": "kubernetes", "port": 1, "kubernetes": {"repository": "r/small"}}
        return make_project(environments={"staging": kubernetes})

    @pytest.fixture(autouse=True)
    def done(self, monkeypatch):
        done = []

        def bake(bundle, wanted):
            done.append(("bake", wanted.repository, bundle.digest))
            return f"{wanted.repository}:{bundle.digest[:12]}"

        def push(name):
            done.append(("push", name))
            return "sha256:0"

        monkeypatch.setattr("ml_pipeline.targets.kubernetes.image.build", bake)
        monkeypatch.setattr("ml_pipeline.targets.kubernetes.image.push", push)
        return done

    @pytest.fixture
    def again(self, package, project, make_context):
        """Run the stage once more, with flags."""
        package()

        def again(*, quick=False, **flags):
            return execute(make_context(project, "package", quick=quick, **flags))

        return again

    def test_nothing_is_baked_unless_asked_for(self, again, done):
        assert again().exit_code == 0
        assert done == []

    def test_an_image_is_baked_and_not_pushed(self, again, done):
        result = again(image="r/mine")
        digest = result.report.model.digest
        assert done == [("bake", "r/mine", digest)]
        assert verdicts(result)[f"image r/mine:{digest[:12]}"] == "pass"

    def test_those_of_the_environments_are_pushed(self, again, done):
        result = again(push=True)
        digest = result.report.model.digest
        assert done == [("bake", "r/small", digest), ("push", f"r/small:{digest[:12]}")]

    def test_a_quick_model_is_not_pushed(self, again, done):
        result = again(quick=True, push=True)
        assert result.exit_code == 0
        assert done == []
        assert verdicts(result)["image r/small"] == "skipped"

    def test_a_wrong_name_is_told_before_anything_is_done(self, again):
        result = again(image="r/mine:latest")
        assert result.exit_code == 2
        assert "without a tag" in result.report.summary
