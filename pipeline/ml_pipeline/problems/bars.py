"""Daily bars (open, high, low, close, volume) of one or many symbols: will the next close rise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ml_pipeline.config import Section
from ml_pipeline.core.errors import UsageError, nearest
from ml_pipeline.problem import Column, Matrix, Rule

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.problem import FeatureFunction
    from ml_pipeline.problems.bar_series import BarSeries

QUARANTINE_TOLERANCE = 0.01
ORDER_TOLERANCE = 0.01
OPEN_TOLERANCE = 0.2
NOT_NULL = "expect_column_values_to_not_be_null"
BETWEEN = "expect_column_values_to_be_between"
AT_MOST = "expect_column_pair_values_a_to_be_at_most_b"
CRITICAL = ("date", "symbol", "high", "low", "close", "volume")


class BarsOptions(Section):
    """Options of ``problem`` for ``kind: bars``."""

    daily_limit: float | None = Field(
        0.10,
        gt=0,
        description="Largest move of a day that the exchange allows, as a share; null: no limit. "
        "A close that moved 1.05 times as far cuts the series.",
    )
    max_absence: int | None = Field(
        10,
        ge=0,
        description="Exchange days without a bar of a symbol that its series outlasts uncut; "
        "null: any number.",
    )
    unseen: Literal["missing", "refuse"] = Field(
        "missing", description="How a category that training never saw is treated."
    )


class Bars:
    """A row is (symbol, date); the label is 1 where the symbol's next close is higher, else 0.

    The last bar of a segment (see :mod:`ml_pipeline.problems.segments`) has no label.
    """

    Options: ClassVar[type[Section]] = BarsOptions
    kind = "bars"
    primary_metric = "within_day_auc"
    guards: Mapping[str, float] = {"log_loss": 0.01}
    horizon = 1
    keeps_other_columns = False
    label_column = None
    entity_column = "symbol"
    time_column = "date"
    group_column = "sector"
    cluster_column = None

    def __init__(self, options: BarsOptions | None = None) -> None:
        self.options = BarsOptions() if options is None else options
        self.unseen = self.options.unseen

    def columns(self) -> tuple[Column, ...]:
        return (
            Column("date", "date"),
            Column("symbol", "text"),
            Column("open", "number", critical=False),
            Column("high", "number"),
            Column("low", "number"),
            Column("close", "number"),
            Column("volume", "number"),
            Column("turnover", "number", required=False, critical=False),
            Column("sector", "text", required=False, critical=False),
        )

    def feature_columns(self, names: Sequence[str]) -> tuple[Column, ...]:  # noqa: ARG002
        return ()

    def expectations(self) -> tuple[Rule, ...]:
        return (
            *(_row(f"{name}_present", NOT_NULL, column=name) for name in CRITICAL),
            _row("date_format", "expect_column_values_to_be_iso_date", column="date"),
            _row(
                "one_bar_per_day",
                "expect_compound_columns_to_be_unique",
                column_list=["symbol", "date"],
            ),
            Rule(
                "dates_increase",
                "expect_times_to_increase_per_entity",
                {"column_A": "symbol", "column_B": "date"},
                "fail",
                ORDER_TOLERANCE,
            ),
            *(
                _row(f"{name}_positive", BETWEEN, column=name, min_value=0, strict_min=True)
                for name in ("high", "low", "close")
            ),
            _row("low_at_most_high", AT_MOST, column_A="low", column_B="high"),
            _row("low_at_most_close", AT_MOST, column_A="low", column_B="close"),
            _row("close_at_most_high", AT_MOST, column_A="close", column_B="high"),
            _row("volume_whole", "expect_column_values_to_be_integer_valued", column="volume"),
            _row("volume_not_negative", BETWEEN, column="volume", min_value=0),
            _open("low_at_most_open", column_A="low", column_B="open"),
            _open("open_at_most_high", column_A="open", column_B="high"),
        )

    def matrix(
        self,
        frame: pd.DataFrame,
        functions: Sequence[FeatureFunction],
        standard: bool | tuple[str, ...],
    ) -> Matrix:
        """Compute the features, labels and keys of bars in any order.

        Raises:
            UsageError: a feature function is at fault, or ``standard`` names an unknown feature.
            Refused: there is no row, a date or a symbol is missing, or a symbol has two bars of
                one day.
        """
        import pandas as pd

        from ml_pipeline.problems import bar_features, project_features

        chosen = _chosen(standard, bar_features.STANDARD)
        series = self._series(frame)
        columns = {name: pd.Series(series.standard[name].astype("float32")) for name in chosen}
        blocks: project_features.Blocks = {
            "entity": series.rows_of_segments(),
            "day": series.rows_of_days(),
        }
        columns |= project_features.compute(series.frame, functions, blocks, columns)
        if not columns:
            raise UsageError("the model has no feature", hint="see features in ml.yaml")
        features = pd.DataFrame(columns, index=series.frame.index)
        label = pd.Series(series.label, index=series.frame.index, name="label")
        return Matrix(features=features, label=label, keys=series.keys())

    def heuristic(self, frame: pd.DataFrame, matrix: Matrix) -> dict[str, pd.Series]:
        """Return ``persistence``: whether the last move within the segment was up."""
        import numpy as np
        import pandas as pd

        moves = self._series(frame).moves
        up = np.where(np.isfinite(moves), (moves > 0).astype(np.float64), np.nan)
        return {"persistence": pd.Series(up, index=matrix.label.index, name="persistence")}

    def _series(self, frame: pd.DataFrame) -> BarSeries:
        from ml_pipeline.problems.bar_series import BarSeries

        options = self.options
        return BarSeries(frame, daily_limit=options.daily_limit, max_absence=options.max_absence)

    def describe(self) -> str:
        return (
            "A row is one symbol's bar of one day; the label is 1 when the symbol's next traded "
            "close is higher, 0 when it is lower or the same."
        )


def _row(name: str, expect: str, **args: object) -> Rule:
    return Rule(name, expect, args, "quarantine", QUARANTINE_TOLERANCE)


def _open(name: str, **args: object) -> Rule:
    return Rule(name, AT_MOST, args, "blank", OPEN_TOLERANCE, blank="open")


def _chosen(standard: bool | tuple[str, ...], known: Sequence[str]) -> tuple[str, ...]:
    if isinstance(standard, bool):
        return tuple(known) if standard else ()
    for name in standard:
        if name not in known:
            raise UsageError(f"features.standard: unknown '{name}'", hint=nearest(name, known))
    return tuple(dict.fromkeys(standard))
