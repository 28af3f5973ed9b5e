"""Stage ``evaluate``: measure the model on the holdout beside its baselines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ml_pipeline.bundle.reader import OnnxModel
from ml_pipeline.core import artefacts
from ml_pipeline.core.artefacts import LABEL_COLUMN
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.report import Check, ModelRef, Verdict
from ml_pipeline.data import parquet
from ml_pipeline.evaluation import checks, prediction_plots, predictions
from ml_pipeline.evaluation.model_evaluation import evaluate
from ml_pipeline.features.schema import FeatureSchema
from ml_pipeline.gate.comparison_set import check_metrics
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.project import isolation
from ml_pipeline.project.protected_files import Protected
from ml_pipeline.project.user_tests import run_user_tests
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.record import NoFlags
from ml_pipeline.tasks.loader import read_task

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def run(context: Context[NoFlags]) -> Outcome:
    """Write the predictions of the model and its baselines, and the metrics of each."""
    problem = load_problem(context.config.problem, context.project.root)
    check_metrics(context.config, problem)
    matrix = parquet.read(context.take(artefacts.MATRIX))
    holdout = parquet.read(context.take(artefacts.HOLDOUT)).reset_index(drop=True)
    schema = FeatureSchema.from_json(json.loads(context.take(artefacts.SCHEMA).read_text()))
    training = json.loads(context.take(artefacts.TRAINING).read_text())
    task = read_task(training.get("task"))
    model = OnnxModel(context.take(artefacts.ONNX), task)
    about = ModelRef(name=training["project"], identity=training["identity"])
    if not holdout[LABEL_COLUMN].notna().any():
        raise Refused("the holdout has no labelled row", expected="rows to measure the model on")

    context.progress("predicting the holdout", 0.05)
    predicted = model.predict(schema.encode(holdout))
    valid = checks.valid_predictions(predicted, task)
    if valid.verdict is not Verdict.PASS:
        summary = f"invalid predictions: {valid.observed}; expected {valid.expected}"
        return Outcome(summary=summary, checks=[valid], model=about)
    context.progress("fitting the baselines", 0.15)
    by_predictor = {"model": predicted} | predictions.baseline_predictions(
        matrix,
        parquet.read(context.take(artefacts.CLEAN)),
        holdout,
        schema,
        problem,
        task,
        training["seed"],
    )
    written = context.workdir / artefacts.PREDICTIONS
    predictions.write(written, holdout, by_predictor)

    context.progress("measuring, with intervals", 0.4)
    evaluation = evaluate(
        model.predict,
        by_predictor,
        holdout,
        matrix,
        schema,
        task,
        context.config.evaluate,
        metric=context.config.gate.metric or problem.primary_metric,
        seed=context.config.train.seed,
    )
    outputs = [written]
    plot = context.workdir / artefacts.EVALUATION_PLOT
    plot.unlink(missing_ok=True)
    if not context.quick:  # matplotlib would take a fifth of a quick run
        predicted_rows = evaluation.predictions["model"]
        outputs.append(prediction_plots.draw(plot, evaluation.sample, predicted_rows))
    context.progress("running the project's model tests", 0.8)
    every_check = [
        valid,
        *evaluation.checks(context.config.evaluate, quick=context.quick),
        *_model_tests(context, written, evaluation.best_heuristic),
    ]
    return Outcome(
        summary=evaluation.summary(every_check),
        checks=every_check,
        metrics=evaluation.to_json(),
        outputs=outputs,
        model=about,
    )


def _model_tests(context: Context[NoFlags], written: Path, best_heuristic: str) -> list[Check]:
    inputs: Mapping[str, str] = {
        "model": str(context.workdir / artefacts.ONNX),
        "schema": str(context.workdir / artefacts.SCHEMA),
        "holdout": str(context.workdir / artefacts.HOLDOUT),
        "predictions": str(written),
        "baseline": best_heuristic,
        "profile": str(context.profile),
        "training": str(context.workdir / artefacts.TRAINING),
    }
    tests = run_user_tests(
        context.project,
        context.workdir,
        context.config.tests.model,
        "model",
        inputs,
        Protected(context.project, context.workdir, context.home),
    )
    return [*tests, *isolation.check(tests)]
