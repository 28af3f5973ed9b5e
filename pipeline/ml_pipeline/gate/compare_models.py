"""Compares challenger and champion on rows that neither model learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.artefacts import LABEL_COLUMN, PART_COLUMN
from ml_pipeline.core.report import Progress
from ml_pipeline.data import parquet
from ml_pipeline.evaluation import baselines, heuristics, metric_table
from ml_pipeline.evaluation.holdout import Sample
from ml_pipeline.evaluation.row_alignment import positions
from ml_pipeline.gate import champion_predictions as champions
from ml_pipeline.gate.comparison_set import ComparisonRules, no_comparison, run_comparisons
from ml_pipeline.gate.decision import goal_for
from ml_pipeline.gate.expected_performance import expected_performance
from ml_pipeline.gate.lineage import comparable_rows
from ml_pipeline.gate.model_comparison import ComparedRows, ModelComparison
from ml_pipeline.problem import Problem

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]

CHAMPION = "the champion"
BEST_HEURISTIC = "the best heuristic"


@dataclass(frozen=True)
class ComparisonInputs:
    """The inputs of the comparison; each file has the digest that its stage reported."""

    holdout: pd.DataFrame
    """``holdout.parquet``."""
    matrix: Path
    clean: Path
    challenger: Bundle
    champion: Bundle | None
    problem: Problem


def compare_models(
    comparison: ModelComparison,
    inputs: ComparisonInputs,
    rules: ComparisonRules,
    goal_setting: Literal["auto", "superior", "non_inferior"],
    *,
    resamples: int,
    seed: int,
    progress: Progress,
    group_by: Sequence[str] = (),
) -> ModelComparison:
    """Compare challenger and champion, or the best heuristic where there is no champion.

    Whatever prevents a fair comparison leaves comparisons that do not pass, with the reason.

    Args:
        comparison: what is known before the rows are compared.
        inputs: bundles and files.
        rules: metrics, margins and error rates.
        goal_setting: ``gate.goal``.
        resamples: bootstrap samples for the intervals of the table.
        seed: of the resampling.
        progress: called with what is being done.
        group_by: categorical features; the expected performance is recorded for each value too.
    """
    challenger = dict(inputs.challenger.manifest["training"])
    champion = dict(inputs.champion.manifest["training"]) if inputs.champion else None
    against = CHAMPION if champion is not None else BEST_HEURISTIC
    goal = goal_for(
        goal_setting,
        challenger.get("identity_parts", {}),
        None if champion is None else champion.get("identity_parts", {}),
        same_features=inputs.champion is None
        or _kinds(inputs.challenger) == _kinds(inputs.champion),
    )
    comparison = replace(comparison, goal=goal)
    holdout = inputs.holdout
    labelled = holdout[LABEL_COLUMN].notna().to_numpy()
    comparable = comparable_rows(holdout[labelled], challenger, champion)
    if comparable.rows is None:
        return without_rows(comparison, rules, against, comparable.why)
    comparison = replace(comparison, first_day=comparable.first_day)
    rows = labelled.copy()
    rows[labelled] = comparable.rows
    task = inputs.challenger.task
    sample = Sample.of(holdout[rows], task)
    titles = {"model": "challenger", task.baseline: task.baseline_title}
    progress("scoring the challenger", 0.15)
    if inputs.champion is not None and (why := different_outputs(task, inputs.champion.task)):
        return without_rows(comparison, rules, CHAMPION, why, sample.unit)
    try:
        predictions = _predictions(inputs, rows)
    except champions.NoPredictionsError as error:
        return without_rows(comparison, rules, against, str(error), sample.unit)
    best = baselines.best_heuristic(rules.metric, sample, predictions)
    heuristic = run_comparisons(
        sample,
        predictions["model"],
        predictions[best],
        against=f"{BEST_HEURISTIC}, {titles.get(best, best)}",
        goal="superior",
        rules=rules,
    )
    shown = {name: predictions[name] for name in ("model", task.baseline)}
    if inputs.champion is None:
        other = predictions[best]
        comparison = replace(comparison, comparisons=heuristic)
        shown[best] = other
    else:
        progress("scoring the champion", 0.2)
        try:
            other = _champion_predictions(inputs, inputs.champion, challenger, rows)
        except champions.NoPredictionsError as error:
            return without_rows(comparison, rules, CHAMPION, str(error), sample.unit)
        comparison = replace(
            comparison,
            comparisons=run_comparisons(
                sample, predictions["model"], other, against=CHAMPION, goal=goal, rules=rules
            ),
            heuristic=heuristic,
        )
        shown = {"model": predictions["model"], "champion": other} | shown
    progress("measuring", 0.6)
    table = _table(sample, shown, resamples, seed)
    measured = table.get(metric_table.MODEL, {}).get(rules.metric)
    expected = measured and expected_performance(
        rules.metric, sample, predictions["model"], measured, holdout[rows], group_by
    )
    return replace(
        comparison,
        rows=ComparedRows(
            holdout[rows].reset_index(drop=True), sample, predictions["model"], other
        ),
        models={
            name: {key: value.to_json() for key, value in row.items()}
            for name, row in table.items()
        },
        table=metric_table.as_text(table, titles, task),
        expected=expected.to_json() if expected else None,
    )


def without_rows(
    comparison: ModelComparison,
    rules: ComparisonRules,
    against: str,
    why: str,
    unit: str = "day",
) -> ModelComparison:
    """Return the comparison where no rows could be compared fairly: nothing of it passes."""
    return replace(comparison, comparisons=no_comparison(rules, against, why, unit), why=why)


def different_outputs(challenger: Task, champion: Task) -> str:
    """Return why the predictions of two models cannot be compared; empty where they can."""
    if challenger.name != champion.name:
        return f"not comparable: a {challenger.title} and a {champion.title}"
    one, other = (task.metadata().get("classes", ()) for task in (challenger, champion))
    if one != other:
        return f"not comparable: classes {', '.join(one)} and {', '.join(other)}"
    return ""


def _kinds(bundle: Bundle) -> set[tuple[str, str]]:
    return {(feature.name, feature.kind) for feature in bundle.schema.features}


def _predictions(inputs: ComparisonInputs, rows: NDArray[np.bool_]) -> dict[str, Floats]:
    """Return what the challenger's bundle and the heuristics predict for the rows.

    They are computed here: a file of predictions would have to be trusted.
    """
    matrix = parquet.read(inputs.matrix)
    labels = matrix.loc[matrix[PART_COLUMN] == "holdout", LABEL_COLUMN].reset_index(drop=True)
    if not labels.equals(inputs.holdout[LABEL_COLUMN]):
        raise champions.NoPredictionsError("the holdout is not the one of the matrix")
    found = heuristics.predict(
        matrix, parquet.read(inputs.clean), inputs.problem, inputs.challenger.task
    )
    known = {name: values[rows] for name, values in found.items()}
    return {
        "model": champions.score(inputs.challenger, inputs.holdout[rows], "the challenger")
    } | known


def _champion_predictions(
    inputs: ComparisonInputs, champion: Bundle, training: Mapping[str, Any], rows: NDArray[np.bool_]
) -> Floats:
    """Score the champion on the rows: on the challenger's features, or on those of its own code."""
    theirs = champion.manifest["training"].get("identity_parts", {})
    frame = parquet.read(inputs.clean)
    try:
        if champions.has_same_feature_code(training.get("identity_parts", {}), theirs):
            return champions.score(champion, inputs.holdout[rows])
        return _predictions_by_own_code(inputs, champion, frame, rows)
    except champions.NoPredictionsError as error:
        raise champions.with_remedy(error, frame.columns) from None


def _predictions_by_own_code(
    inputs: ComparisonInputs, champion: Bundle, frame: pd.DataFrame, rows: NDArray[np.bool_]
) -> Floats:
    matrix = parquet.read(inputs.matrix)
    place = positions(frame, matrix, inputs.problem)
    if place is None:
        raise champions.NoPredictionsError("the holdout's rows are not found in the clean data")
    holdout_rows = place[(matrix[PART_COLUMN] == "holdout").to_numpy()][rows]
    return champions.score(
        champion, champions.features_by_own_code(champion, inputs.clean, holdout_rows)
    )


def _table(
    sample: Sample, shown: Mapping[str, Floats], resamples: int, seed: int
) -> metric_table.Table:
    import numpy as np

    finite = {name: values for name, values in shown.items() if np.isfinite(values).all()}
    return metric_table.measure(sample, finite, resamples=resamples, seed=seed)
