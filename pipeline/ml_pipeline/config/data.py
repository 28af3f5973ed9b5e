"""``data``: source, columns and data tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from ml_pipeline.config.section import Section, yaml_word
from ml_pipeline.config.sources import SimulatedSource, Source


class Groups(Section):
    """A CSV file that gives each entity its group: its path and the names of its two columns."""

    path: Path
    entity: str
    group: str


Severity = Literal["fail", "quarantine", "blank"]


class Expectation(Section):
    """One data test: a great_expectations expectation by its snake-case name and arguments."""

    name: str | None = Field(None, description="Its name in reports; derived from expect if unset.")
    expect: str = Field(description="For example expect_column_values_to_be_in_set.")
    args: dict[str, Any] = Field(default_factory=dict)
    severity: Severity = Field(
        "fail",
        description="fail: the run ends; quarantine: the row is set aside; blank: the cell is "
        "emptied.",
    )
    tolerance: float = Field(
        0.0, ge=0, le=1, description="Share of rows that may miss the expectation."
    )
    blank: str | None = Field(
        None, description="The column whose cell is emptied; the expectation's own if unset."
    )


class Distribution(Section):
    """How far the columns may move from the last accepted data."""

    null_share: float = Field(0.05, ge=0, description="Largest rise of the share of nulls.")
    mean_shift: float = Field(
        1.0,
        ge=0,
        description="Largest move of a mean, in standard deviations of the accepted data.",
    )


class DataSection(Section):
    source: Source = SimulatedSource(kind="simulated")
    ci: Source | None = Field(None, description="The small sample in the repository for `run ci`.")
    columns: dict[str, str] = Field(
        default_factory=dict, description="The problem's column name: the source's column name."
    )
    constants: dict[str, str | int | float] = Field(
        default_factory=dict, description="Columns that the source lacks, with their one value."
    )

    @field_validator("constants", mode="before")
    @classmethod
    def _no_switches(cls, values: Any) -> Any:
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, bool):
                raise ValueError(  # noqa: TRY004  pydantic takes it as a fault of the value
                    f"a text or a number; YAML reads {name} as {yaml_word(value)}, so quote it"
                )
        return values

    groups: Groups | None = None
    expectations: tuple[Expectation, ...] = ()
    tolerances: dict[str, float] = Field(
        default_factory=dict,
        description="Tolerance by the name of one of the problem's own expectations.",
    )
    min_rows: int = Field(1, ge=1)
    max_age_days: int | None = Field(None, ge=0, description="Freshness: off unless set.")
    distribution: Distribution = Distribution()
