"""``monitor``: what production is compared with after its watch, and how often it may alarm."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ml_pipeline.config.section import Section
from ml_pipeline.config.sources import Source


class LabelSource(Section):
    """Labels that arrive after their predictions, and how they are joined to the requests."""

    source: Source
    label: str = Field(description="The column with the label.")
    request_id: str | None = Field(
        None, description="The column with the request's id; the rows are joined by keys if unset."
    )
    row: str | None = Field(
        None, description="The column with the row's place in its request, from 0; 0 if unset."
    )
    keys: dict[str, str] = Field(
        default_factory=dict,
        description="The problem's key columns or features of the log: the source's column name.",
    )
    time_zone: str = Field(
        "UTC", description="Of dates in the source and of the day of a request, such as Asia/Tokyo."
    )
    delay_days: float = Field(
        7.0, gt=0, description="A label that has not come by then counts as missing."
    )

    @model_validator(mode="after")
    def _one_way_to_join(self) -> Self:
        if (self.request_id is None) == (not self.keys):
            raise ValueError("request_id or keys, by which labels are joined; one of them")
        if self.row is not None and self.request_id is None:
            raise ValueError("request_id beside row")
        return self


class MonitorSection(Section):
    """What production is compared with after its watch, and how often it may alarm."""

    false_alarms_per_year: float = Field(
        1.0,
        gt=0,
        le=52,
        description="At most so many alarms without cause in 95 of 100 years, over all features, "
        "metrics, groups and looks at an environment.",
    )
    min_rows: int = Field(200, ge=20, description="Rows below which a look is inconclusive.")
    group_by: tuple[str, ...] = Field(
        (), description="Categorical features; the metric is judged for each of their values too."
    )
    ignored_importance: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="Drift in features with a smaller share of the model's importance is shown "
        "and raises no alarm.",
    )
    refused_rate: float = Field(
        0.05, ge=0, le=1, description="Largest share of refused requests (4xx but overload)."
    )
    max_silence_hours: float | None = Field(
        None, gt=0, description="Longest time without a request; any if unset."
    )
    max_age_days: float | None = Field(
        None, gt=0, description="Age of the training data from which the model is retrained."
    )
    cool_down_days: float = Field(
        7.0, ge=0, description="No further retraining is asked for within."
    )
    labels: LabelSource | None = None
