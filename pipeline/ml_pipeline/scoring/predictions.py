"""Predictions of rows, with their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ml_pipeline.bundle.packaged_code import OwnCodeError, OwnFeatures, compute
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.features.schema import FeatureError
from ml_pipeline.problems.compute_features import SOURCE_ROW
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.problem import Problem
    from ml_pipeline.scoring.model import ScoringModel
    from ml_pipeline.tasks.base import Task

VERSION, DIGEST, AT = "model_version", "bundle_digest", "scored_at"


@dataclass(frozen=True)
class Predictions:
    """A table of predictions.

    Attributes:
        table: the key columns, then those of the model's task (for a binary classifier
            ``probability``, float64, of class 1), ``model_version`` (Int64, missing where the
            bundle has no number), ``bundle_digest`` (text) and ``scored_at`` (datetime64[us, UTC],
            one for all). Sorted by the key; RangeIndex.
        key: names of the columns that identify a row: the problem's time
            (datetime64[us], a day) and entity (text) under its own names; where it has neither,
            ``source_row``, the row's place in the source.
        time: name of the time column among them.
        set_aside: names of the data tests that a row failed, by its index; it has no prediction.
        blanked: number of cells of each column that count as missing after a failed test.
        task: what the model predicts.
    """

    table: pd.DataFrame
    key: tuple[str, ...]
    time: str | None
    set_aside: Mapping[int, str] = field(default_factory=dict)
    blanked: Mapping[str, int] = field(default_factory=dict)
    task: Task = BINARY

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns beside the key."""
        return (*self.task.score_columns, VERSION, DIGEST, AT)


def key_columns(problem: Problem, task: Task = BINARY) -> tuple[str, ...]:
    """Return the problem's time and entity columns, if it has them.

    Raises:
        UsageError: one has the name of a column of the predictions.
    """
    key = tuple(name for name in (problem.time_column, problem.entity_column) if name is not None)
    if conflicts := sorted(set(key) & {*task.score_columns, VERSION, DIGEST, AT, SOURCE_ROW}):
        raise UsageError(
            f"the problem's column '{conflicts[0]}' has the name of a column of the predictions",
            hint="give the problem's column another name in ml.yaml",
        )
    return key


def predict(
    model: ScoringModel,
    rows: pd.DataFrame,
    problem: Problem,
    at: datetime,
    since: date | None = None,
) -> Predictions:
    """Predict rows in the problem's columns; the model's own code computes the features.

    Args:
        model: the model to score with.
        rows: including history: features of a bar need the bars before it.
        problem: the problem of the rows.
        at: the scoring time.
        since: rows of earlier days are history only.

    Raises:
        UsageError: ``since`` is given and the problem has no time.
        Refused: the model's code does not accept these rows, none passes the data tests, or a
            prediction is invalid for the task.
    """
    import numpy as np
    import pandas as pd

    task = model.bundle.task
    key = key_columns(problem, task)
    if since is not None and problem.time_column is None:
        raise UsageError("--since is given and the problem has no time")
    computed = _features(model, rows)
    features = computed.features
    features.index = rows.index[features.index]
    set_aside = {
        int(rows.index[row["source_row"]]): str(row["reasons"]) for row in computed.set_aside
    }
    if missing := [name for name in key if name not in features.columns]:
        raise Refused(f"the model's code knows no '{missing[0]}'", hint="was the problem changed?")
    if since is not None:
        assert problem.time_column is not None
        features = features[features[problem.time_column] >= pd.Timestamp(since)]
        if features.empty:
            raise Refused(f"no row is of {since.isoformat()} or later")
    predictions = _predictions(model, {str(name): features[name] for name in features.columns})
    keys = {name: features[name] for name in key} or {SOURCE_ROW: features.index.to_series()}
    table = pd.DataFrame(
        {
            **{name: column.to_numpy() for name, column in keys.items()},
            **task.score_values(predictions),
            VERSION: pd.array([model.version] * len(features), dtype="Int64"),
            DIGEST: model.bundle.digest,
            AT: np.full(len(features), pd.Timestamp(at).as_unit("us")),
        }
    )
    table = table.sort_values(list(keys), kind="stable").reset_index(drop=True)
    return Predictions(table, tuple(keys), problem.time_column, set_aside, computed.blanked, task)


def _features(model: ScoringModel, rows: pd.DataFrame) -> OwnFeatures:
    import pyarrow as pa

    with TemporaryDirectory(prefix="score-") as scratch:
        path = Path(scratch) / "rows.parquet"
        try:
            rows.reset_index(drop=True).to_parquet(path, index=False)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise Refused(f"the rows mix kinds of values: {error}") from None
        try:
            return compute(model.bundle, path)
        except OwnCodeError as error:
            if error.code == EnvironmentFault.exit_code:
                raise EnvironmentFault(f"the model's {error}") from None
            raise Refused(f"the model's {error}") from None


def _predictions(model: ScoringModel, columns: Mapping[str, pd.Series]) -> NDArray[np.float64]:
    import numpy as np

    schema = model.bundle.schema
    try:
        encoded = schema.encode({name: columns[name] for name in schema.names if name in columns})
    except FeatureError as error:
        raise Refused(f"the model does not take these features: {error}") from None
    predictions = model.bundle.predict(encoded)
    task = model.bundle.task
    invalid = task.invalid(predictions)
    if invalid.any():
        index = int(np.argmax(invalid))
        expected = f"a {task.prediction_noun}"
        raise Refused(f"the model answers {predictions[index]} for a row", expected=expected)
    return predictions
