"""``train``: the estimator, its parameters and its calibration."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic.config import JsonDict

from ml_pipeline.config.section import Section

Calibration = Literal["none", "sigmoid", "isotonic"]


class Range(Section):
    """Numbers to choose from; whole ones where both limits are."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="Sample on a logarithmic scale.")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError("a range's low must be less than its high")
        if self.log and self.low <= 0:
            raise ValueError("a range with log must have a low above 0")
        return self


class SearchSection(Section):
    """Ranges of parameters, from which Optuna chooses the values of each trial."""

    trials: int = Field(ge=2, le=10_000, description="Parameter sets to try.")
    ranges: dict[str, Range | tuple[str | int | float | bool | None, ...]] = Field(
        min_length=1, description="By parameter: low and high, or a list of choices."
    )


class Window(Section):
    """Days to train on: all, the last ones, or those since a date or a change."""

    days: int | None = Field(None, ge=1)
    since: date | Literal["change"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _in_words(cls, value: Any) -> Any:
        if value == "all":
            return {}
        if isinstance(value, cls) or (isinstance(value, dict) and value):
            return value
        raise ValueError("all, days: N, or since: DATE")

    @model_validator(mode="after")
    def _is_one_window(self) -> Self:
        if self.days is not None and self.since is not None:
            raise ValueError("days or since, not both")
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, serialize: SerializerFunctionWrapHandler) -> Any:
        return {key: value for key, value in serialize(self).items() if value is not None} or "all"


WINDOW_SCHEMA: JsonDict = {
    "anyOf": [
        {"const": "all"},
        {
            "type": "object",
            "properties": {"days": {"type": "integer", "minimum": 1}},
            "required": ["days"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "since": {
                    "anyOf": [{"type": "string", "format": "date"}, {"const": "change"}],
                }
            },
            "required": ["since"],
            "additionalProperties": False,
        },
    ],
    "description": "Days to train on: all, the last days: N, or those since: DATE. since: change "
    "begins with the day from which monitor sees a drift, and is all days while it sees none.",
}
WindowForm = Annotated[Window, WithJsonSchema(WINDOW_SCHEMA)]
ALL_DAYS = Window.model_validate("all")


class TrainSection(Section):
    estimator: str = Field(
        "xgboost", description="An installed estimator: see docs/reference/estimators.md."
    )
    params: dict[str, Any] = Field(
        default_factory=dict, description="Of the estimator: see docs/reference/estimators.md."
    )
    search: SearchSection | tuple[dict[str, Any], ...] = Field(
        (),
        description="Parameter sets, each laid over params, or ranges with a number of trials, to "
        "choose from by the loss on the walk-forward folds.",
    )
    calibration: Calibration = "none"
    max_samples: int | None = Field(
        None, ge=2, description="The newest rows at most; all if unset."
    )
    max_epochs: int = Field(400, ge=1, description="Boosting rounds at most.")
    patience: int = Field(40, ge=1, description="Rounds without gain before boosting stops.")
    window: WindowForm = ALL_DAYS
    windows: tuple[WindowForm, ...] = Field(
        (),
        description="In place of window: windows to choose from by the loss on the walk-forward "
        "folds.",
    )
    min_rows: int = Field(200, ge=2, description="Fewest rows of the training part.")
    seed: int = Field(7, ge=0, le=2**31 - 1)
    threads: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _one_window_or_several(self) -> Self:
        if self.windows and self.window != ALL_DAYS:
            raise ValueError("window or windows, not both")
        if len(self.windows) == 1:
            raise ValueError("two windows or more to choose from; a single one is train.window")
        return self

    @property
    def depends_on_change(self) -> bool:
        """Whether a window begins with the day of a change that ``monitor`` found."""
        return any(window.since == "change" for window in (self.window, *self.windows))
