"""Measure the model on the holdout beside its baselines; write what each of them predicted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ml_pipeline.bundle.reader import OnnxModel
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.report import Check, ModelRef, Verdict
from ml_pipeline.data import parquet
from ml_pipeline.evaluation import baselines, checks, heuristics, label_leaks, metric_table
from ml_pipeline.evaluation.fairness import ByGroup, by_group
from ml_pipeline.evaluation.holdout import Sample
from ml_pipeline.evaluation.noise_sensitivity import noise_effect
from ml_pipeline.features.schema import FeatureSchema
from ml_pipeline.gate.comparison_set import check_metrics
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.project import isolation
from ml_pipeline.project.protected_files import Protected
from ml_pipeline.project.user_tests import run_user_tests
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.record import NoFlags
from ml_pipeline.tasks.base import as_column
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.tasks.loader import read_task

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]

PREDICTIONS = "data/predictions.parquet"


def run(context: Context[NoFlags]) -> Outcome:

    problem = load_problem(context.config.problem, context.project.root)
    check_metrics(context.config, problem)
    matrix = parquet.read(context.take("data/matrix.parquet"))
    holdout_path = context.take("data/holdout.parquet")
    holdout = parquet.read(holdout_path).reset_index(drop=True)
    onnx = context.take("model/model.onnx")
    schema_path = context.take("model/schema.json")
    schema = FeatureSchema.from_json(json.loads(schema_path.read_text()))
    training_path = context.take("model/training.json")
    training = json.loads(training_path.read_text())
    task = read_task(training.get("task"))
    model = OnnxModel(onnx, task)
    about = ModelRef(name=training["project"], identity=training["identity"])

    labelled = holdout["__label"].notna().to_numpy()
    if not labelled.any():
        raise Refused("the holdout has no labelled row", expected="rows to measure the model on")
    context.progress("scoring the holdout", 0.05)
    scores = {"model": model.predict(schema.encode(_columns(holdout, schema)))}
    valid = checks.valid_predictions(scores["model"], task)
    if valid.verdict is not Verdict.PASS:
        return Outcome(
            summary=f"the model is broken: {valid.observed} {_expected(task)}",
            checks=[valid],
            model=about,
        )
    context.progress("learning the baselines", 0.15)
    scores |= _baselines(context, matrix, holdout, schema, training["seed"], task)
    predictions = _write(context, holdout, scores)

    context.progress("measuring, with intervals", 0.4)
    sample = Sample.of(holdout[labelled], task)
    known = {name: values[labelled] for name, values in scores.items()}
    section = context.config.evaluate
    table = metric_table.measure(
        sample, known, resamples=section.resamples, seed=context.config.train.seed
    )
    effect = noise_effect(
        model.predict,
        schema,
        holdout[list(schema.names)],
        relative=section.noise,
        seed=context.config.train.seed,
        task=task,
    )
    aucs = label_leaks.feature_aucs(matrix, schema.names, task)
    context.progress("measuring groups", 0.7)
    groups, no_groups = _groups(holdout[labelled], sample, known["model"])
    metric = context.config.gate.metric or problem.primary_metric
    best = baselines.best_heuristic(metric, sample, known)
    context.progress("running the project's model tests", 0.8)
    found = [
        valid,
        checks.beats_baseline(sample, known["model"], known[task.baseline], quick=context.quick),
        *checks.thresholds(section.thresholds, table["model"], quick=context.quick, task=task),
        checks.noise(effect, section.max_noise_effect),
        label_leaks.check(
            aucs,
            section.max_feature_auc,
            required=section.feature_auc_required and not context.quick,
        ),
        *checks.group_gaps(
            section.group_gaps, groups.gaps if groups else {}, quick=context.quick, task=task
        ),
        *_skipped(table["model"], no_groups, task),
        *_model_tests(
            context,
            {
                "model": str(context.workdir / "model/model.onnx"),
                "schema": str(schema_path),
                "holdout": str(holdout_path),
                "predictions": str(predictions),
                "baseline": best,
                "profile": str(context.profile),
                "training": str(training_path),
            },
        ),
    ]
    return Outcome(
        summary=_summary(table, found, task),
        checks=found,
        metrics={
            "rows": len(sample.labels),
            "unit": sample.unit,
            "units": sample.clusters,
            **_class_counts(sample),
            "first": sample.names[0] if sample.unit == "day" else None,
            "last": sample.names[-1] if sample.unit == "day" else None,
            **task.label_summary(sample.labels),
            "best_heuristic": best,
            "noise_effect": effect,
            "feature_auc": aucs,
            "models": {
                name: {metric: value.to_json() for metric, value in row.items()}
                for name, row in table.items()
            },
            "by_group": groups.to_json() if groups else None,
            "groups": groups.as_text() if groups else None,
            "table": metric_table.as_text(table, _titles(task), task),
        },
        outputs=[predictions],
        model=about,
    )


def _model_tests(context: Context[NoFlags], inputs: Mapping[str, str]) -> list[Check]:
    found = run_user_tests(
        context.project,
        context.workdir,
        context.config.tests.model,
        "model",
        inputs,
        Protected(context.project, context.workdir, context.home),
    )
    return [*found, *isolation.check(found)]


def _columns(rows: pd.DataFrame, schema: FeatureSchema) -> dict[str, Any]:
    return {name: rows[name] for name in schema.names}


def _baselines(
    context: Context[NoFlags],
    matrix: pd.DataFrame,
    holdout: pd.DataFrame,
    schema: FeatureSchema,
    seed: int,
    task: Task,
) -> dict[str, Floats]:
    """Return what the baselines, learned on the training part, predict for the holdout's rows."""
    part = matrix["__part"]
    train = (part == "train").to_numpy()
    labels = matrix.loc[train, "__label"].to_numpy(dtype="float64")
    clean = parquet.read(context.take("data/clean.parquet"))
    problem = load_problem(context.config.problem, context.project.root)
    found = heuristics.predict(matrix, clean, problem, task)
    found[task.linear_baseline] = baselines.linear(
        schema.encode(_columns(matrix[train], schema)).astype("float64"),
        labels,
        schema.encode(_columns(holdout, schema)).astype("float64"),
        seed,
        task,
    )
    return found


def _write(context: Context[NoFlags], holdout: pd.DataFrame, scores: Mapping[str, Floats]) -> Path:
    """Write the holdout's keys and every predictor's predictions, in the holdout's order."""
    path = context.workdir / PREDICTIONS
    columns = {name: as_column(values) for name, values in scores.items()}
    frame = holdout[[name for name in heuristics.KEYS if name in holdout]].assign(**columns)
    with workdir.atomic_path(path) as temporary:
        frame.to_parquet(temporary, index=False)
    return path


def _groups(rows: pd.DataFrame, sample: Sample, predictions: Floats) -> tuple[ByGroup | None, str]:
    """Return the metrics by group, or why there are none."""
    group = rows["__group"]
    given = group.notna().to_numpy() & (group.astype("object") != "").to_numpy()
    if group[given].nunique() < 2:
        return None, "the rows are of fewer than two groups"
    names = group[given].to_numpy()
    return by_group(sample.labels[given], predictions[given], names, sample.task), ""


def _skipped(
    measured: Mapping[str, metric_table.Measured], no_groups: str, task: Task
) -> list[Check]:
    """Say of everything that was not measured why not."""
    reasons = {name: found.skipped for name, found in measured.items() if found.skipped}
    if no_groups:
        reasons["metrics by group"] = no_groups
    return [
        Check(
            name=name,
            verdict=Verdict.SKIPPED,
            required=False,
            observed="no value",
            expected=f"rows that define {', '.join(task.group_metrics)}"
            if " " in name
            else "a value",
            why=reason,
        )
        for name, reason in reasons.items()
    ]


def _expected(task: Task) -> str:
    """Return what every prediction should be, in the plural."""
    if task.name == BINARY.name:
        return "finite probabilities from 0 to 1"
    return f"valid predictions, each a {task.prediction_noun}"


def _titles(task: Task) -> dict[str, str]:
    """Return the baselines as the table spells them."""
    linear = task.linear_baseline.replace("_", " ")
    return {task.baseline: task.baseline_title, task.linear_baseline: linear}


def _class_counts(sample: Sample) -> dict[str, int]:
    """Return how many units have one class only, where there are two."""
    if sample.task.name != BINARY.name:
        return {}
    return {"units_with_one_class": metric_table.left_out(sample)}


def _summary(table: metric_table.Table, found: list[Check], task: Task) -> str:
    """Return what matters most: what failed, else how good the model is."""
    model, constant = table["model"], table[task.baseline]
    form = ".2f" if task.name == BINARY.name else ".4g"
    parts = []
    for name in task.summary_metrics:
        measured = model[name]
        if measured.value is None:
            continue
        interval = ""
        if measured.low is not None and name == task.summary_metrics[0]:
            interval = f" [{measured.low:{form}}, {measured.high:{form}}]"
        parts.append(f"{task.metrics[name].title} {measured.value:{form}}{interval}")
    loss = task.training_metric
    parts.append(
        f"{task.metrics[loss].title} {model[loss].value:.4f} vs "
        f"{constant[loss].value:.4f} {task.baseline_title}"
    )
    good = (Verdict.PASS, Verdict.SKIPPED)
    bad = [check.name for check in found if check.required and check.verdict not in good]
    if bad:
        parts.insert(0, f"failed: {', '.join(bad[:3])}{' and more' if len(bad) > 3 else ''}")
    return ", ".join(parts)
