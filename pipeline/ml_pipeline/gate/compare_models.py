"""The whole comparison: which rows, against whom, by whose features, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.report import Check, Progress
from ml_pipeline.data import parquet
from ml_pipeline.evaluation import baselines, heuristics, metric_table
from ml_pipeline.evaluation.holdout import Sample
from ml_pipeline.evaluation.row_alignment import positions
from ml_pipeline.gate import champion_predictions as champions
from ml_pipeline.gate.comparison_set import Contest, Rules, contest, not_made
from ml_pipeline.gate.decision import Goal, goal_for
from ml_pipeline.gate.lineage import comparable_rows
from ml_pipeline.problem import Problem

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CHAMPION = "the champion"
BEST_HEURISTIC = "the best heuristic"
SHOWN = {"model": "challenger", "base_rate": "base rate"}


@dataclass(frozen=True)
class Material:
    """What the comparison is made from; every file is the one that its stage reported."""

    holdout: pd.DataFrame
    """``holdout.parquet``."""
    matrix: Path
    clean: Path
    challenger: Bundle
    champion: Bundle | None
    problem: Problem


@dataclass(frozen=True)
class Held:
    """A contest with what is shown beside it.

    ``rows`` is the mask over the holdout that was compared on and ``scores`` the champion's
    probabilities there; both are None where no champion was scored.
    """

    contest: Contest
    goal: Goal
    first: str | None = None
    advice: Sequence[Check] = ()
    models: Mapping[str, Any] | None = None
    table: Mapping[str, Any] | None = None
    rows: NDArray[np.bool_] | None = None
    scores: Floats | None = None


def hear(
    material: Material,
    rules: Rules,
    wanted: Literal["auto", "superior", "non_inferior"],
    *,
    resamples: int,
    seed: int,
    progress: Progress,
) -> Held:
    """Compare challenger and champion, or the best heuristic where there is no champion.

    Whatever prevents a fair comparison leaves a contest that does not pass, with the reason.
    """
    mine = dict(material.challenger.manifest["training"])
    theirs = dict(material.champion.manifest["training"]) if material.champion else None
    against = CHAMPION if theirs is not None else BEST_HEURISTIC
    goal = goal_for(
        wanted,
        mine.get("identity_parts", {}),
        None if theirs is None else theirs.get("identity_parts", {}),
        same_features=material.champion is None
        or _kinds(material.challenger) == _kinds(material.champion),
    )
    holdout = material.holdout
    labelled = holdout["__label"].notna().to_numpy()
    usable = comparable_rows(holdout[labelled], mine, theirs)
    if usable.rows is None:
        return Held(not_made(rules, against, usable.why), goal)
    rows = labelled.copy()
    rows[labelled] = usable.rows
    sample = Sample.of(holdout[rows])
    progress("scoring the challenger", 0.15)
    try:
        known = _predictions(material, rows)
    except champions.UnscoredError as error:
        return Held(not_made(rules, against, str(error), sample.unit), goal, usable.first)
    best = baselines.best_heuristic(rules.metric, sample, known)
    heuristic = f"{BEST_HEURISTIC}, {SHOWN.get(best, best)}"
    shown = {name: known[name] for name in ("model", baselines.BASE_RATE)}
    advice: list[Check] = []
    scores: Floats | None = None
    if material.champion is None:
        held = contest(
            sample, known["model"], known[best], against=heuristic, goal=goal, rules=rules
        )
        shown[best] = known[best]
    else:
        progress("scoring the champion", 0.2)
        try:
            scores = _champion_scores(material, material.champion, mine, rows)
        except champions.UnscoredError as error:
            return Held(not_made(rules, CHAMPION, str(error), sample.unit), goal, usable.first)
        held = contest(sample, known["model"], scores, against=CHAMPION, goal=goal, rules=rules)
        floor = contest(
            sample, known["model"], known[best], against=heuristic, goal="superior", rules=rules
        )
        advice = [floor.checks[0].model_copy(update={"required": False})]
        shown = {"model": known["model"], "champion": scores} | shown
    progress("measuring", 0.6)
    table = _table(sample, shown, resamples, seed)
    return Held(
        held,
        goal,
        usable.first,
        advice,
        {name: {key: found.to_json() for key, found in row.items()} for name, row in table.items()},
        metric_table.as_text(table, SHOWN),
        rows if scores is not None else None,
        scores,
    )


def _kinds(bundle: Bundle) -> set[tuple[str, str]]:
    return {(feature.name, feature.kind) for feature in bundle.schema.features}


def _predictions(material: Material, rows: NDArray[np.bool_]) -> dict[str, Floats]:
    """Return what the challenger's bundle and the heuristics predict for the rows.

    They are computed here: a file of predictions would have to be believed.
    """
    matrix = parquet.read(material.matrix)
    labels = matrix.loc[matrix["__part"] == "holdout", "__label"].reset_index(drop=True)
    if not labels.equals(material.holdout["__label"]):
        raise champions.UnscoredError("the holdout is not the one of the matrix")
    found = heuristics.predict(matrix, parquet.read(material.clean), material.problem)
    known = {name: values[rows] for name, values in found.items()}
    return {
        "model": champions.score(material.challenger, material.holdout[rows], "the challenger")
    } | known


def _champion_scores(
    material: Material, champion: Bundle, mine: Mapping[str, Any], rows: NDArray[np.bool_]
) -> Floats:
    """Score the champion on the rows: on the challenger's features, or on those of its own code."""
    theirs = champion.manifest["training"].get("identity_parts", {})
    frame = parquet.read(material.clean)
    try:
        if champions.computes_alike(mine.get("identity_parts", {}), theirs):
            return champions.score(champion, material.holdout[rows])
        return _scores_by_own_code(material, champion, frame, rows)
    except champions.UnscoredError as error:
        raise champions.explained(error, frame.columns) from None


def _scores_by_own_code(
    material: Material, champion: Bundle, frame: pd.DataFrame, rows: NDArray[np.bool_]
) -> Floats:
    matrix = parquet.read(material.matrix)
    place = positions(frame, matrix, material.problem)
    if place is None:
        raise champions.UnscoredError("the holdout's rows are not found in the clean data")
    wanted = place[(matrix["__part"] == "holdout").to_numpy()][rows]
    return champions.score(champion, champions.own_features(champion, material.clean, wanted))


def _table(
    sample: Sample, shown: Mapping[str, Floats], resamples: int, seed: int
) -> metric_table.Table:
    import numpy as np

    finite = {name: values for name, values in shown.items() if np.isfinite(values).all()}
    return metric_table.measure(sample, finite, resamples=resamples, seed=seed)
