"""The requests of a replayed shadow: recorded ones of production, or the newest holdout rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import Project
from ml_pipeline.core import artefacts
from ml_pipeline.core.artefacts import GROUP_COLUMN, PART_COLUMN
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.data import parquet
from ml_pipeline.gate.compare_models import different_outputs
from ml_pipeline.online import live_shadow
from ml_pipeline.online.recorded_requests import RecordedRow
from ml_pipeline.tasks.base import from_column, values_of
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.traffic.mirror_reader import reorder_row

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.tasks.base import Task, Value

RECORDED_INSTEAD = "set shadow.source to recorded, or shadow.required to false"


@dataclass(frozen=True)
class ReplayRequests:
    """Rows by feature for each model, with ids and groups."""

    source: str
    """``recorded`` or ``holdout``."""
    ids: Sequence[str]
    challenger: Sequence[Sequence[Any]]
    champion: Sequence[Sequence[Any]] = ()
    trained: Sequence[Value] = ()
    """The trained model's predictions, if there is no champion."""
    groups: Sequence[str] = ()
    contract: str | None = None
    """The digest that the challenger needs for rows by position, if it needs one."""
    champion_contract: str | None = None
    task: Task = BINARY


def _check_outputs(bundle: Bundle, champion: Bundle) -> None:
    """Raise UsageError where the predictions of the two cannot be compared."""
    if why := different_outputs(bundle.task, champion.task):
        raise UsageError(
            why,
            expected="a challenger of the champion's task",
            hint="set shadow.required to false to deliver it anyway",
        )


def fits_challenger(bundle: Bundle, champion: Bundle) -> bool:
    """Return whether the champion's requests have the challenger's features."""
    try:
        live_shadow.positions(champion.schema, bundle.schema)
    except Refused:
        return False
    return True


def recorded_replay(
    rows: Sequence[RecordedRow], bundle: Bundle, champion: Bundle
) -> ReplayRequests:
    """Return requests that the champion predicted in production.

    Raises:
        UsageError: there are none, or the models have different outputs.
        Refused: they lack a feature of the challenger.
    """
    if not rows:
        raise UsageError(
            "the prediction log has no request that the champion answered",
            hint="wait until production receives requests, or set shadow.source to holdout",
        )
    _check_outputs(bundle, champion)
    positions = live_shadow.positions(champion.schema, bundle.schema)
    return ReplayRequests(
        source="recorded",
        ids=[f"{row.request_id}-{index}" for index, row in enumerate(rows)],
        champion=[row.features for row in rows],
        contract=bundle.schema.position_contract,
        champion_contract=champion.schema.position_contract,
        task=bundle.task,
        challenger=[
            row.features if positions is None else reorder_row(row.features, positions)
            for row in rows
        ],
    )


def choose_requests(
    take: Callable[[str], Path],
    project: Project,
    bundle: Bundle,
    champion: Bundle | None,
    recorded: Sequence[RecordedRow],
    *,
    has_holdout: bool,
) -> ReplayRequests:
    """Return the requests of ``shadow.source``: recorded ones if there are enough, or the holdout.

    Args:
        take: returns the path of an artefact of the working folder, given its name.
        project: configures the number of rows and the features.
        bundle: the challenger's.
        champion: None where there is none.
        recorded: requests that the champion predicted in production.
        has_holdout: whether the working folder holds the training run of the challenger.

    Raises:
        UsageError: there are no such requests, or the two models have different outputs.
        Refused: recorded requests lack a feature of the challenger.
    """
    section = project.config.shadow
    if champion is not None and section.source != "holdout":
        enough = len(recorded) >= section.min_requests and fits_challenger(bundle, champion)
        if section.source == "recorded" or enough:
            return recorded_replay(recorded, bundle, champion)
    if not has_holdout:
        raise UsageError(
            "the working folder does not hold the holdout of the deployed model",
            expected="the files of the run that trained it",
            hint="run 'ml-pipeline run cd', or set shadow.source to recorded",
        )
    return holdout_replay(take, project, bundle, champion)


def holdout_replay(
    take: Callable[[str], Path], project: Project, bundle: Bundle, champion: Bundle | None
) -> ReplayRequests:
    """Return the newest holdout rows, with the features of each model.

    Args:
        take: returns the path of an artefact of the working folder, given its name.
        project: configures the number of rows and the features.
        bundle: the challenger, which the working folder's training run made.
        champion: None if there is none; the trained model's predictions are used then.

    Raises:
        UsageError: the champion's own code does not compute its features for these rows, or the
            models have different outputs.
    """
    import pandas as pd

    from ml_pipeline.bundle.request_rows import json_rows

    holdout = parquet.read(take(artefacts.HOLDOUT)).reset_index(drop=True)
    newest = holdout.tail(project.config.shadow.requests)
    trained: list[Value] = []
    rows: list[list[Any]] = []
    if champion is None:
        predictions = parquet.read(take(artefacts.PREDICTIONS))
        trained = values_of(from_column(predictions["model"].tail(len(newest))))
    else:
        _check_outputs(bundle, champion)
        features = _champion_features(take, project, bundle, champion, newest)
        rows = json_rows(features, champion.schema.names)
    groups = newest.get(GROUP_COLUMN)
    return ReplayRequests(
        source="holdout",
        ids=[f"holdout-{index}" for index in newest.index],
        challenger=json_rows(newest, bundle.schema.names),
        champion=rows,
        contract=bundle.schema.position_contract,
        champion_contract=None if champion is None else champion.schema.position_contract,
        trained=trained,
        task=bundle.task,
        groups=[]
        if groups is None
        else ["" if pd.isna(value) else str(value) for value in groups.tolist()],
    )


def _champion_features(
    take: Callable[[str], Path],
    project: Project,
    bundle: Bundle,
    champion: Bundle,
    newest: pd.DataFrame,
) -> pd.DataFrame:
    """Return the rows' features, computed by the champion's own code if it differs."""
    from ml_pipeline.evaluation.row_alignment import positions
    from ml_pipeline.gate import champion_predictions
    from ml_pipeline.problems.loader import load_problem

    own = bundle.manifest["training"].get("identity_parts", {})
    theirs = champion.manifest["training"].get("identity_parts", {})
    if champion_predictions.has_same_feature_code(own, theirs):
        return newest
    clean = take(artefacts.CLEAN)
    matrix = parquet.read(take(artefacts.MATRIX))
    problem = load_problem(project.config.problem, project.root)
    place = positions(parquet.read(clean), matrix, problem)
    if place is None:
        raise UsageError(
            "the clean data lack rows of the holdout, so the champion cannot predict them",
            hint=RECORDED_INSTEAD,
        )
    holdout_positions = place[(matrix[PART_COLUMN] == "holdout").to_numpy()][newest.index]
    try:
        return champion_predictions.features_by_own_code(champion, clean, holdout_positions)
    except champion_predictions.NoPredictionsError as error:
        raise UsageError(
            f"the champion cannot predict the holdout: {error}", hint=RECORDED_INSTEAD
        ) from None
