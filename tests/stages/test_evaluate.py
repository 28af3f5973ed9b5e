"""Evaluate over a trained model: the table, the checks, and what the project's tests may say."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.core.report import Profile, Verdict
from ml_pipeline.stages import runner
from ml_pipeline.stages.context import Context

SLICE = {"data": {"source": {"kind": "simulated", "symbols": 24, "days": 160, "edge": 1.5}}}


@pytest.fixture
def trained(make_project, make_context):
    """Return a function that trains a project and gives the context of evaluate."""

    def make(*, quick=False, **sections) -> Context:
        project = make_project(**(SLICE | sections))
        for stage in ("validate-data", "train"):
            done = runner.execute(make_context(project, stage, quick=quick))
            assert done.exit_code == 0, done.report.summary
        return make_context(project, "evaluate", quick=quick)

    return make


def write_model_test(context, body):
    folder = context.project.root / "tests/model"
    folder.mkdir(parents=True)
    (folder / "test_model.py").write_text(body)


def test_model_and_baselines_stand_in_one_table(trained):
    context = trained()
    done = runner.execute(context)
    assert (done.exit_code, done.report.verdict) == (0, Verdict.PASS), done.report.summary
    metrics = done.report.metrics
    assert list(metrics["models"]) == ["model", "base_rate", "persistence", "logistic_regression"]
    assert metrics["unit"] == "day"
    assert metrics["units"] == 40
    assert metrics["models"]["model"]["within_day_auc"]["value"] > 0.6
    assert metrics["models"]["base_rate"]["within_day_auc"]["value"] == 0.5
    assert done.report.summary.startswith("AUC 0.")
    assert len(metrics["table"]["rows"]) == 4
    assert done.report.model.identity


def test_predictions_are_in_the_order_of_the_holdout(trained):
    context = trained()
    assert runner.execute(context).exit_code == 0
    predictions = pd.read_parquet(context.workdir / "data/predictions.parquet")
    holdout = pd.read_parquet(context.workdir / "data/holdout.parquet")
    assert predictions["__entity"].tolist() == holdout["__entity"].tolist()
    assert predictions["__time"].tolist() == holdout["__time"].tolist()
    assert predictions["model"].between(0, 1).all()
    assert (
        "data/predictions.parquet"
        in json.loads((context.workdir / "reports/evaluate.json").read_text())["outputs"]
    )


def test_same_model_same_figures(trained):
    context = trained()
    one, other = (runner.execute(context).report for _ in range(2))
    assert (one.metrics, one.outputs) == (other.metrics, other.outputs)


def test_persistence_repeats_the_last_move(trained):
    """Recomputed by hand: the share of rises after a rise and after a fall, in training."""
    context = trained()
    runner.execute(context)
    bars = pd.read_parquet(context.workdir / "data/clean.parquet")
    found = pd.read_parquet(context.workdir / "data/predictions.parquet")
    bars["up"] = bars.groupby("symbol")["close"].diff() > 0
    joined = found.merge(bars, left_on=["__time", "__entity"], right_on=["date", "symbol"])
    rates = joined.groupby("up")["persistence"].agg(lambda p: p.round(6).mode()[0])
    agree = np.isclose(joined["persistence"], joined["up"].map(rates), atol=1e-6)
    assert agree.mean() > 0.97  # a series that is cut has no last move
    assert rates[True] != rates[False]


class TestThresholds:
    def test_under_a_threshold_it_says_no(self, trained):
        context = trained(evaluate={"thresholds": {"auc": {"min": 0.99}}})
        done = runner.execute(context)
        assert (done.exit_code, done.report.verdict) == (1, Verdict.FAIL)
        assert done.report.summary.startswith("failed: threshold auc, AUC 0.")

    def test_an_unknown_metric_is_told_before_any_work(self, make_project, make_context):
        project = make_project(evaluate={"thresholds": {"auk": {"min": 0.5}}})
        done = runner.execute(make_context(project, "evaluate"))
        assert done.exit_code == 2
        assert "did you mean 'auc'" in done.report.summary


class TestProjectsOwnTests:
    def test_a_failed_test_of_the_model_says_no(self, trained):
        context = trained()
        write_model_test(context, "def test_it(new_model, X_test, y_test):\n    assert False\n")
        assert runner.execute(context).report.verdict is Verdict.FAIL

    def test_a_comparison_is_shown_and_left_to_the_gate(self, trained):
        context = trained()
        write_model_test(
            context,
            "def test_it(new_model, baseline_model, X_test, y_test):\n"
            "    assert len(baseline_model.predict(X_test)) == len(y_test)\n"
            "    assert False\n",
        )
        done = runner.execute(context)
        assert done.report.verdict is Verdict.PASS
        shown = next(check for check in done.report.checks if "test_it" in check.name)
        assert (shown.verdict, shown.required) == (Verdict.FAIL, False)


class TestQuick:
    def test_a_quick_model_is_measured_and_not_judged_by_comparison(self, trained):
        context = trained(quick=True, evaluate={"thresholds": {"auc": {"min": 0.99}}})
        write_model_test(
            context,
            "def test_it(new_model, baseline_model, X_test, y_test):\n    assert False\n",
        )
        done = runner.execute(context)
        assert (done.exit_code, done.report.verdict) == (0, Verdict.PASS), done.report.summary
        skipped = {c.name for c in done.report.checks if c.verdict is Verdict.SKIPPED}
        assert "threshold auc" in skipped
        assert any("test_it" in name for name in skipped)

    def test_only_a_full_run_draws_the_plots(self, trained):
        context = trained()
        plot = context.workdir / "pages/evaluate.png"
        assert "pages/evaluate.png" in runner.execute(context).report.outputs
        assert plot.is_file()
        report = runner.execute(replace(context, profile=Profile.QUICK)).report
        assert "pages/evaluate.png" not in report.outputs
        assert not plot.exists()

    def test_a_sample_that_lost_rows_still_has_persistence(self, make_project, make_context):
        project = make_project(**SLICE)
        runner.execute(make_context(project, "validate-data"))
        train = make_context(project, "train", quick=True, max_samples=1200)
        assert runner.execute(train).exit_code == 0
        done = runner.execute(make_context(project, "evaluate", quick=True))
        assert done.exit_code == 0, done.report.summary
        assert "persistence" in done.report.metrics["models"]


class TestTable:
    def test_undated_rows_skip_within_day_auc_with_the_reason(
        self, make_project, make_context, tmp_path
    ):
        rng = np.random.default_rng(1)
        x = rng.normal(size=1500)
        rows = pd.DataFrame({"x": x, "z": rng.normal(size=1500)})
        rows["y"] = (x + rng.normal(size=1500) > 0).astype(int)
        root = tmp_path / "table"
        root.mkdir()
        rows.to_csv(root / "rows.csv", index=False)
        project = make_project(
            "table",
            bare=True,
            project="table",
            problem={"kind": "table", "label": "y"},
            data={"source": {"kind": "csv", "path": "rows.csv"}},
            train={"max_epochs": 20},
            evaluate={"resamples": 50},
        )
        for stage in ("validate-data", "train", "evaluate"):
            done = runner.execute(make_context(project, stage))
            assert done.exit_code == 0, done.report.summary
        metrics = done.report.metrics
        assert metrics["unit"] == "row"
        assert metrics["models"]["model"]["auc"]["value"] > 0.7
        skipped = {c.name: c.why for c in done.report.checks if c.verdict is Verdict.SKIPPED}
        assert skipped["within_day_auc"] == "the rows are not dated, so there are no days"
        assert skipped["metrics by group"] == "the rows are of fewer than two groups"


def test_a_model_that_is_not_the_trained_one_is_refused(trained):
    context = trained()
    (context.workdir / "model/model.onnx").write_bytes(b"another")
    done = runner.execute(context)
    assert done.exit_code == 2
    assert "is not what train made" in done.report.summary


def test_without_a_report_of_train_it_says_what_to_run(make_project, make_context):
    context = make_context(make_project(), "evaluate")
    shutil.rmtree(context.workdir.root, ignore_errors=True)
    done = runner.execute(context)
    assert (done.exit_code, done.report.verdict) == (2, Verdict.ERROR)
    assert "run 'ml-pipeline train'" in done.report.summary
