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
from ml_pipeline.evaluation.fairness import BY_GROUP, ByGroup, by_group
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

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PREDICTIONS = "data/predictions.parquet"
SHOWN = {"base_rate": "base rate", "logistic_regression": "logistic regression"}


def run(context: Context[NoFlags]) -> Outcome:

    problem = load_problem(context.config.problem, context.project.root)
    check_metrics(context.config, problem)
    matrix = parquet.read(context.take("data/matrix.parquet"))
    holdout_path = context.take("data/holdout.parquet")
    holdout = parquet.read(holdout_path).reset_index(drop=True)
    model = OnnxModel(context.take("model/model.onnx"))
    schema_path = context.take("model/schema.json")
    schema = FeatureSchema.from_json(json.loads(schema_path.read_text()))
    training = json.loads(context.take("model/training.json").read_text())
    about = ModelRef(name=training["project"], identity=training["identity"])

    labelled = holdout["__label"].notna().to_numpy()
    if not labelled.any():
        raise Refused("the holdout has no labelled row", expected="rows to measure the model on")
    context.progress("scoring the holdout", 0.05)
    scores = {"model": model.predict(schema.encode(_columns(holdout, schema)))}
    finite = checks.finite(scores["model"])
    if finite.verdict is not Verdict.PASS:
        return Outcome(
            summary=f"the model is broken: {finite.observed} finite probabilities from 0 to 1",
            checks=[finite],
            model=about,
        )
    context.progress("learning the baselines", 0.15)
    scores |= _baselines(context, matrix, holdout, schema, training["seed"])
    predictions = _write(context, holdout, scores)

    context.progress("measuring, with intervals", 0.4)
    sample = Sample.of(holdout[labelled])
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
    )
    aucs = label_leaks.feature_aucs(matrix, schema.names)
    context.progress("measuring groups", 0.7)
    groups, no_groups = _groups(holdout[labelled], sample.labels, known["model"])
    metric = context.config.gate.metric or problem.primary_metric
    best = baselines.best_heuristic(metric, sample, known)
    context.progress("running the project's model tests", 0.8)
    found = [
        finite,
        checks.beats_base_rate(
            sample, known["model"], known[baselines.BASE_RATE], quick=context.quick
        ),
        *checks.thresholds(section.thresholds, table["model"], quick=context.quick),
        checks.noise(effect, section.max_noise_effect),
        label_leaks.check(
            aucs,
            section.max_feature_auc,
            required=section.feature_auc_required and not context.quick,
        ),
        *checks.group_gaps(section.group_gaps, groups.gaps if groups else {}, quick=context.quick),
        *_skipped(table["model"], no_groups),
        *_model_tests(
            context,
            {
                "model": str(context.workdir / "model/model.onnx"),
                "schema": str(schema_path),
                "holdout": str(holdout_path),
                "predictions": str(predictions),
                "baseline": best,
                "profile": str(context.profile),
            },
        ),
    ]
    return Outcome(
        summary=_summary(table, found),
        checks=found,
        metrics={
            "rows": len(sample.labels),
            "unit": sample.unit,
            "units": sample.clusters,
            "units_with_one_class": metric_table.left_out(sample),
            "first": sample.names[0] if sample.unit == "day" else None,
            "last": sample.names[-1] if sample.unit == "day" else None,
            "positive_rate": float(sample.labels.mean()),
            "best_heuristic": best,
            "noise_effect": effect,
            "feature_auc": aucs,
            "models": {
                name: {metric: value.to_json() for metric, value in row.items()}
                for name, row in table.items()
            },
            "by_group": groups.to_json() if groups else None,
            "groups": groups.as_text() if groups else None,
            "table": metric_table.as_text(table, SHOWN),
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
) -> dict[str, Floats]:
    """Return what the baselines, learned on the training part, predict for the holdout's rows."""
    part = matrix["__part"]
    train = (part == "train").to_numpy()
    labels = matrix.loc[train, "__label"].to_numpy(dtype="float64")
    clean = parquet.read(context.take("data/clean.parquet"))
    problem = load_problem(context.config.problem, context.project.root)
    found = heuristics.predict(matrix, clean, problem)
    found[baselines.LOGISTIC_REGRESSION] = baselines.logistic_regression(
        schema.encode(_columns(matrix[train], schema)).astype("float64"),
        labels,
        schema.encode(_columns(holdout, schema)).astype("float64"),
        seed,
    )
    return found


def _write(context: Context[NoFlags], holdout: pd.DataFrame, scores: Mapping[str, Floats]) -> Path:
    """Write the holdout's keys and every predictor's probabilities, in the holdout's order."""
    path = context.workdir / PREDICTIONS
    frame = holdout[[name for name in heuristics.KEYS if name in holdout]].assign(**scores)
    with workdir.atomic_path(path) as temporary:
        frame.to_parquet(temporary, index=False)
    return path


def _groups(
    rows: pd.DataFrame, labels: Floats, probabilities: Floats
) -> tuple[ByGroup | None, str]:
    """Return the metrics by group, or why there are none."""
    group = rows["__group"]
    given = group.notna().to_numpy() & (group.astype("object") != "").to_numpy()
    if group[given].nunique() < 2:
        return None, "the rows are of fewer than two groups"
    return by_group(labels[given], probabilities[given], group[given].to_numpy()), ""


def _skipped(measured: Mapping[str, metric_table.Measured], no_groups: str) -> list[Check]:
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
            expected=f"rows that define {', '.join(BY_GROUP)}" if " " in name else "a value",
            why=reason,
        )
        for name, reason in reasons.items()
    ]


def _summary(table: metric_table.Table, found: list[Check]) -> str:
    """Return what matters most: what failed, else how good the model is."""
    model, rate = table["model"], table["base_rate"]
    parts = []
    if (auc := model["auc"]).value is not None:
        interval = f" [{auc.low:.2f}, {auc.high:.2f}]" if auc.low is not None else ""
        parts.append(f"AUC {auc.value:.2f}{interval}")
    if (within := model["within_day_auc"]).value is not None:
        parts.append(f"within-day AUC {within.value:.2f}")
    parts.append(
        f"log loss {model['log_loss'].value:.4f} vs {rate['log_loss'].value:.4f} base rate"
    )
    good = (Verdict.PASS, Verdict.SKIPPED)
    bad = [check.name for check in found if check.required and check.verdict not in good]
    if bad:
        parts.insert(0, f"failed: {', '.join(bad[:3])}{' and more' if len(bad) > 3 else ''}")
    return ", ".join(parts)
