"""The train stage: what it writes, that it repeats itself, and that it leaves nothing half done."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.core import report, workdir
from ml_pipeline.core.report import StageReport
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.data.sources import read_source, to_problem_columns
from ml_pipeline.features.schema import FeatureSchema
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.registry.champion_contract import ChampionContract
from ml_pipeline.stages import runner
from ml_pipeline.training import onnx_export
from ml_pipeline.training.training_record import TrainingRecord

OUTPUTS = {
    "data/matrix.parquet",
    "data/holdout.parquet",
    "model/schema.json",
    "model/model.onnx",
    "model/model.ubj",
    "model/training.json",
    "model/parity.parquet",
    "model/reference.parquet",
}


@pytest.fixture(scope="module")
def exchange():
    """The simulated exchange's clean bars, made once."""
    from pathlib import Path

    from ml_pipeline.config import Config, Project

    config = Config(
        project="small",
        data={"source": {"kind": "simulated", "symbols": 24, "days": 160, "seed": 3}},
    )
    project = Project(Path("/nowhere"), config)
    problem = load_problem(config.problem, project.root)
    raw = read_source(config.data.source, project).frame
    return to_problem_columns(raw, problem, config.data, project)


def validated(project, clean):
    """Leave the working folder as validate-data would."""
    folder = Workdir(project.root / "build/ml")
    folder.make()
    clean.to_parquet(folder / "data/clean.parquet")
    (folder / "data/profile.json").write_text(json.dumps({"fingerprint": "f" * 64}))
    now = datetime.now(UTC)
    names = ("data/clean.parquet", "data/profile.json")
    report.write(
        StageReport(
            stage="validate-data",
            verdict="pass",
            summary="",
            run_id="test-run",
            started=now,
            finished=now,
            outputs={name: workdir.digest(folder / name) for name in names},
        ),
        folder,
    )
    return folder


@pytest.fixture
def trains(make_project, make_context, exchange):
    """Train a project of the given sections; return the result and the working folder."""

    def run(name="project", clean=None, progress=None, sections=None, **flags):
        project = make_project(name, **(sections or {}))
        folder = validated(project, exchange if clean is None else clean)
        context = make_context(project, "train", **flags)
        if progress is not None:
            context.progress = progress
        return runner.execute(context), folder

    return run


def test_writes_every_file_and_reports_its_digest(trains):
    result, folder = trains()
    assert result.exit_code == 0, result.report.summary
    assert set(result.report.outputs) == OUTPUTS
    for name, digest in result.report.outputs.items():
        assert workdir.digest(folder / name) == digest
    assert set(result.report.inputs) == {"data/clean.parquet", "data/profile.json"}
    assert result.report.summary.startswith("xgboost, ")
    assert "validation log loss" in result.report.summary
    assert result.report.model.name == "small"


def test_the_matrix_holds_keys_parts_and_raw_features(trains, exchange):
    result, folder = trains()
    matrix = pd.read_parquet(folder / "data/matrix.parquet")
    assert len(matrix) == len(exchange)
    assert {"__time", "__entity", "__group", "__label", "__part"} <= set(matrix)
    assert matrix["__part"].value_counts().to_dict() == {
        part: count for part, count in result.report.metrics["rows"].items() if count
    }
    assert matrix.loc[matrix["__part"] == "unlabelled", "__label"].isna().all()
    days = matrix.groupby("__part")["__time"].agg(["min", "max"])
    assert days.loc["train", "max"] < days.loc["validation", "min"]
    assert days.loc["validation", "max"] < days.loc["holdout", "min"]
    features = [name for name in matrix if not name.startswith("__")]
    assert (matrix[features].dtypes == np.float32).all()
    holdout = pd.read_parquet(folder / "data/holdout.parquet")
    expected = matrix[matrix["__part"] == "holdout"].reset_index(drop=True)
    pd.testing.assert_frame_equal(holdout, expected)
    assert holdout["__time"].nunique() == 40


def test_the_exported_model_answers_the_parity_rows(trains):
    _, folder = trains()
    schema = FeatureSchema.from_json(json.loads((folder / "model/schema.json").read_text()))
    onnx = (folder / "model/model.onnx").read_bytes()
    for name, count in (("parity", 10_032), ("reference", None)):
        rows = pd.read_parquet(folder / f"model/{name}.parquet")
        assert count is None or len(rows) == count
        answers = onnx_export.predict(onnx, schema.encode({n: rows[n] for n in schema.names}))
        assert np.abs(answers - rows["__probability"]).max() <= 1e-5


def test_the_bundles_reader_opens_the_model(trains):
    from ml_pipeline.bundle.reader import OnnxModel

    _, folder = trains()
    schema = FeatureSchema.from_json(json.loads((folder / "model/schema.json").read_text()))
    golden = pd.read_parquet(folder / "model/parity.parquet").query("`__golden`")
    model = OnnxModel(folder / "model/model.onnx")
    assert model.width == schema.width
    answers = model.predict(schema.encode({name: golden[name] for name in schema.names}))
    assert np.abs(answers - golden["__probability"]).max() <= 1e-5


def test_the_record_has_recipe_split_and_identity(trains):
    result, folder = trains()
    record = TrainingRecord.from_json(json.loads((folder / "model/training.json").read_text()))
    assert (record.estimator, record.problem, record.profile) == ("xgboost", "bars", "full")
    assert record.params["max_depth"] == 3
    assert record.rows == result.report.metrics["rows"]
    assert record.split["method"] == "time"
    assert record.fingerprint == "f" * 64
    assert record.identity == result.report.model.identity
    assert record.cutoffs.train_end < record.cutoffs.validation_end < record.cutoffs.holdout_start


@pytest.mark.parametrize("estimator", ["xgboost", "random-forest", "logistic-regression"])
def test_two_runs_write_the_same_bytes(trains, estimator):
    params = {"n_estimators": 10} if estimator == "random-forest" else {}
    train = {"estimator": estimator, "params": params, "calibration": "isotonic"}
    sections = {"bare": True} | bare(train)
    first, second = (
        trains(name, sections=sections, cause=cause)[0].report
        for name, cause in (("one", None), ("two", "drift in\n\x1b[2Jvolume_z"))
    )
    assert first.verdict == "pass", first.summary
    assert first.outputs == second.outputs
    assert first.model == second.model
    assert ("cause" in first.metrics, second.metrics["cause"]) == (False, "drift in [2Jvolume_z")


def test_a_window_since_a_change_begins_with_the_day_that_was_dated(trains, monkeypatch):
    from ml_pipeline.monitoring import dated_change
    from ml_pipeline.stages import train as stage

    everything, folder = trains("one")
    schema = FeatureSchema.from_json(json.loads((folder / "model/schema.json").read_text()))
    champion = ChampionContract(3, schema, (), change="2012-03-01")
    monkeypatch.setattr(stage, "_champion", lambda _: champion)
    sections = {"train": {"window": {"since": "change"}}}
    former, folder = trains("two", sections=sections)
    record = TrainingRecord.from_json(json.loads((folder / "model/training.json").read_text()))
    assert (record.identity_parts["change"], record.window.first_day) == ("2012-03-01",) * 2
    assert record.rows["train"] < everything.report.metrics["rows"]["train"]
    assert record.rows["holdout"] == everything.report.metrics["rows"]["holdout"]
    assert "(since the change of 2012-03-01)" in former.report.summary
    seen = SimpleNamespace(version=3, drift_since="2012-03-20")
    monkeypatch.setattr(dated_change, "last_conclusion", lambda *_: seen)
    newer, _ = trains("three", sections=sections)
    assert "(since the change of 2012-03-20)" in newer.report.summary
    assert newer.report.model.identity != former.report.model.identity


def bare(train, **sections):
    """Sections without the parameters that the small project gives XGBoost."""
    return {
        "project": "small",
        "split": {"holdout_days": 40, "validation_days": 20},
        "train": train,
        **sections,
    }


def test_only_xgboost_leaves_a_native_model(trains):
    result, folder = trains(sections={"bare": True} | bare({"estimator": "logistic-regression"}))
    assert set(result.report.outputs) == OUTPUTS - {"model/model.ubj"}
    assert not (folder / "model/model.ubj").exists()


WITH_A_SEARCH = {
    "bare": True,
    "project": "small",
    "split": {"holdout_days": 40, "validation_days": 20, "folds": 1, "fold_days": 20},
    "train": {
        "max_epochs": 5,
        "search": {"trials": 4, "ranges": {"max_depth": {"low": 1, "high": 6}}},
    },
}


class TestSearch:
    def test_a_killed_build_resumes_and_trains_the_same_model(self, trains):
        whole, folder = trains("whole", sections=WITH_A_SEARCH)
        assert whole.exit_code == 0, whole.report.summary
        expected = {
            name: (folder / name).read_bytes()
            for name in ("model/model.onnx", "model/training.json")
        }

        def interrupt(what, share):
            if what.startswith("trial 3 of 4"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            trains("killed", progress=interrupt, sections=WITH_A_SEARCH)
        calls = []
        resumed, folder = trains(
            "killed", progress=lambda what, share: calls.append(what), sections=WITH_A_SEARCH
        )
        assert resumed.exit_code == 0, resumed.report.summary
        trials = {what.partition(":")[0] for what in calls if what.startswith("trial")}
        assert trials == {"trial 3 of 4", "trial 4 of 4"}
        assert {name: (folder / name).read_bytes() for name in expected} == expected
        assert not (folder / "search/trials.jsonl").exists()


class TestQuick:
    def test_trains_two_rounds_on_little(self, trains):
        result, folder = trains(quick=True, max_samples=2500)
        assert result.exit_code == 0, result.report.summary
        record = TrainingRecord.from_json(json.loads((folder / "model/training.json").read_text()))
        assert record.profile == "quick"
        assert record.best_round <= 2
        assert sum(record.rows.values()) <= 2500
        assert record.split["holdout_days"] == 20

    def test_the_sample_of_a_pull_request_is_enough(self, trains, exchange):
        """20 symbols and 125 days, as validate-data leaves them."""
        newest = exchange[exchange["date"] >= sorted(exchange["date"].unique())[-125]]
        sample = newest[newest["symbol"].isin(sorted(newest["symbol"].unique())[:20])]
        assert len(sample) <= 2500
        result, _ = trains(clean=sample.reset_index(drop=True), quick=True)
        assert result.exit_code == 0, result.report.summary
        selection = next(c for c in result.report.checks if c.name == "model selection")
        assert (selection.verdict, bool(selection.why)) == ("skipped", True)

    def test_a_quick_model_has_another_identity(self, trains):
        full, quick = trains("one")[0], trains("two", quick=True)[0]
        assert full.report.model.identity != quick.report.model.identity

    def test_flags_of_a_full_run_are_part_of_the_identity(self, trains):
        plain, short = trains("one")[0], trains("two", max_epochs=3)[0]
        assert short.report.metrics["best_round"] <= 3
        assert plain.report.model.identity != short.report.model.identity

    def test_flags_must_be_positive(self, trains):
        result, _ = trains(max_epochs=0)
        assert result.exit_code == 2
        assert result.report.summary == "--max-epochs 0; expected at least 1"


class TestNothingHalfDone:
    def left(self, folder):
        inside = (folder / "model").rglob("*") if (folder / "model").exists() else ()
        files = [path for path in inside if path.is_file()]
        hidden = [path for path in folder.root.iterdir() if path.name.startswith(".")]
        strays = [path for path in hidden if path.name != ".gitignore"]
        strays += (folder / "data").glob("*matrix*")
        return files + strays + list((folder / "data").glob("*holdout*"))

    @pytest.mark.parametrize("moment", ["boosting", "exporting", "writing the model"])
    def test_an_interrupt_leaves_no_output_and_the_next_run_starts_clean(self, trains, moment):
        undisturbed, _ = trains("other")

        def interrupt(what, share):
            if what == moment:
                raise KeyboardInterrupt

        _, folder = trains()
        with pytest.raises(KeyboardInterrupt):
            trains(progress=interrupt)
        assert self.left(folder) == []
        written = report.read(folder / "reports/train.json")
        assert (written.verdict, written.outputs) == ("error", {})
        again, _ = trains()
        assert again.report.outputs == undisturbed.report.outputs

    def test_an_interrupt_between_two_files_takes_the_first_away(
        self, trains, monkeypatch, tmp_path
    ):
        def interrupted(*arguments, **keywords):
            raise KeyboardInterrupt

        monkeypatch.setattr("ml_pipeline.training.model_files._write_json", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trains()
        folder = Workdir(tmp_path / "project/build/ml")
        assert (folder / "data/clean.parquet").exists()
        assert self.left(folder) == []

    def test_a_refusal_takes_the_earlier_model_away(self, trains):
        _, folder = trains()
        result, _ = trains(sections={"train": {"min_rows": 10**6}})
        assert result.exit_code == 1
        assert self.left(folder) == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("sections", "code", "message"),
        [
            ({"train": {"estimator": "xgbost"}}, 2, "did you mean 'xgboost'?"),
            ({"gate": {"metric": "acuracy"}}, 2, "gate.metric: unknown metric 'acuracy'"),
            ({"gate": {"guards": {"auk": {"margin": 0.1}}}}, 2, "unknown metric 'auk'"),
            ({"evaluate": {"thresholds": {"auk": {"min": 0.5}}}}, 2, "unknown metric 'auk'"),
            ({"train": {"params": {"max_dept": 3}}}, 2, "did you mean 'max_depth'?"),
            ({"split": {"holdout_days": 400}}, 1, "159 dates have labels; expected at least"),
            ({"train": {"min_rows": 10**6}}, 1, "rows to train on; expected at least"),
            ({"features": {"standard": False}}, 2, "feature"),
        ],
    )
    def test_one_line_and_its_exit_code(self, trains, sections, code, message):
        result, _ = trains(sections=sections)
        assert result.exit_code == code
        assert message in result.report.summary
        assert "\n" not in result.report.summary
        assert "Traceback" not in result.report.summary

    def test_flat_prices_are_one_class(self, trains, exchange):
        flat = exchange.assign(open=100.0, high=100.0, low=100.0, close=100.0)
        result, _ = trains(clean=flat)
        assert result.exit_code == 1
        assert "of class 0; expected both classes" in result.report.summary

    def test_one_row_is_refused(self, trains, exchange):
        result, _ = trains(clean=exchange.head(1))
        assert result.exit_code == 1
        assert "none of 1 rows has a label" in result.report.summary

    def test_no_row_is_refused(self, trains, exchange):
        result, _ = trains(clean=exchange.head(0))
        assert result.exit_code in (1, 2)
        assert "\n" not in result.report.summary

    def test_data_that_did_not_pass_are_not_trained_on(self, trains, make_project, make_context):
        _, folder = trains()
        (folder / "data/clean.parquet").write_bytes(b"other")
        result = runner.execute(make_context(make_project(), "train"))
        assert result.exit_code == 2
        assert "is not what validate-data made" in result.report.summary


@pytest.mark.usefixtures("without_landlock")
@pytest.mark.parametrize("place", ["reports/validate-data.json", "data/clean.parquet"])
def test_feature_modules_that_change_files_of_later_stages_are_refused(
    make_project, make_context, exchange, place
):
    project = make_project(features={"modules": ["own"]})
    (project.root / "own.py").write_text(
        "from pathlib import Path\n"
        "from ml_pipeline import feature\n"
        "@feature\n"
        "def range_(bars):\n"
        f"    Path({str(project.root)!r}, 'build/ml', {place!r}).write_text('[]')\n"
        "    return bars['high'] - bars['low']\n"
    )
    validated(project, exchange)
    result = runner.execute(make_context(project, "train"))
    assert result.exit_code == 1
    assert (
        f"the feature modules changed files that later stages read: {place} was"
        in result.report.summary
    )
