"""What a training run did, as the stages after it read it. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_pipeline.core import schema_errors
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.report import Profile

SCHEMA: Literal["ml-pipeline/training/1"] = "ml-pipeline/training/1"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Cutoffs(_Record):
    """The last day trained on, the last validated on, and the holdout's; None for undated rows.

    A day is an ISO date, or a number where the problem counts its times.
    """

    train_end: str | None = None
    validation_end: str | None = None
    holdout_start: str | None = None
    holdout_end: str | None = None


class Trial(_Record):
    """A parameter set of the search with its loss on each walk-forward fold."""

    params: dict[str, Any]
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.scores) / len(self.scores)


class WindowTrial(_Record):
    """A window of training days with its loss on each walk-forward fold."""

    window: dict[str, Any] | str
    """As ``train.window`` has it, with the date of a change."""
    rows: tuple[int, ...]
    """Rows trained on, by fold."""
    scores: tuple[float, ...] = ()
    why: str = ""
    """Why it was not compared; empty if it was."""

    @property
    def mean(self) -> float | None:
        return sum(self.scores) / len(self.scores) if self.scores else None


class UsedWindow(_Record):
    """The window of days that a model was trained on, where these were not all."""

    window: dict[str, Any] | str
    title: str
    first_day: str


class TrainingRecord(_Record):
    """The recipe, the split, the result and the identity of a trained model."""

    schema_: Literal["ml-pipeline/training/1"] = Field(default=SCHEMA, alias="schema")
    project: str
    problem: str
    estimator: str
    params: dict[str, Any]
    best_round: int | None
    calibration: str
    seed: int
    profile: Profile
    rows: dict[str, int]
    """Rows by part: train, validation, embargo, holdout, unlabelled."""
    cutoffs: Cutoffs
    split: dict[str, Any]
    """``method`` (time or hash) and the sizes that the configuration sets."""
    positive_rate: float | None = None
    """Share of class 1 in the training part of a binary classification."""
    task: dict[str, Any] | None = None
    """What is predicted, as :meth:`ml_pipeline.Task.to_json` records it; binary if absent."""
    folds: tuple[float, ...] = ()
    """Loss of the chosen parameters on each fold; empty where nothing was searched."""
    search: tuple[Trial, ...] = ()
    window: UsedWindow | None = None
    windows: tuple[WindowTrial, ...] = ()
    """The windows that were compared; empty where there was no choice."""
    fingerprint: str
    """Digest of the clean data."""
    identity: str
    identity_parts: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values; ``from_json`` makes the same record of it."""
        values = self.model_dump(mode="json", by_alias=True)
        for key in ("task", "positive_rate", "window", "windows"):
            if values[key] in (None, []):
                del values[key]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build the record from what ``to_json`` made.

        Raises:
            Refused: a key is missing, unknown or wrong.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise Refused(
                f"training record: {schema_errors.reason(error)}",
                expected=f"a record of {SCHEMA}",
                hint="run 'ml-pipeline train' again",
            ) from None
