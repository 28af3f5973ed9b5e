"""Custom expectations for great_expectations, on pandas. Importing this module registers them.

All of them ignore missing values: expect_column_values_to_not_be_null tests those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from great_expectations.compatibility import pydantic
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import (
    ColumnMapExpectation,
    ColumnPairMapExpectation,
    MulticolumnMapExpectation,
)
from great_expectations.expectations.metrics.map_metric_provider import (
    ColumnMapMetricProvider,
    ColumnPairMapMetricProvider,
    MulticolumnMapMetricProvider,
    column_condition_partial,
    column_pair_condition_partial,
    multicolumn_condition_partial,
)

from ml_pipeline.data.labels import one_of_two
from ml_pipeline.data.typed_columns import as_dates, as_numbers

if TYPE_CHECKING:
    import pandas as pd

# great_expectations has no type hints: its classes are Any to mypy, and its decorators turn a
# method of the class into one that it calls with the class as first argument.
# mypy: disable-error-code="misc, untyped-decorator"

PAIR_DOMAIN = (
    "batch_id",
    "table",
    "column_A",
    "column_B",
    "row_condition",
    "condition_parser",
    "ignore_row_if",
)
PAIR_SUCCESS = ("column_A", "column_B", "ignore_row_if", "mostly")


class _IsoDate(ColumnMapMetricProvider):
    condition_metric_name = "column_values.iso_date"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, **_: Any) -> pd.Series:  # noqa: N805
        return as_dates(column).notna()


class ExpectColumnValuesToBeIsoDate(ColumnMapExpectation):
    """Days: text in the form ``%Y-%m-%d``, or dates without a time of day.

    Verdict and counts equal those of expect_column_values_to_match_strftime_format on text, except
    that a time of midnight is accepted. Only distinct values are parsed.
    """

    map_metric: ClassVar[str] = "column_values.iso_date"


class _FiniteNumber(ColumnMapMetricProvider):
    condition_metric_name = "column_values.finite_number"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, **_: Any) -> pd.Series:  # noqa: N805
        return as_numbers(column).notna()


class ExpectColumnValuesToBeFiniteNumbers(ColumnMapExpectation):
    """Finite numbers, or text that can be parsed as one."""

    map_metric: ClassVar[str] = "column_values.finite_number"


class _IntegerValued(ColumnMapMetricProvider):
    condition_metric_name = "column_values.integer_valued"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, **_: Any) -> pd.Series:  # noqa: N805
        numbers = as_numbers(column)
        return numbers == numbers.round()


class ExpectColumnValuesToBeIntegerValued(ColumnMapExpectation):
    """Integers, whatever the column's dtype: 288.0 is one."""

    map_metric: ClassVar[str] = "column_values.integer_valued"


class _NotAfter(ColumnMapMetricProvider):
    condition_metric_name = "column_values.not_after"
    condition_value_keys = ("latest",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, latest: str, **_: Any) -> pd.Series:  # noqa: N805
        import numpy as np

        days = as_dates(column)
        return (days <= np.datetime64(latest, "us")) | days.isna()


class ExpectColumnDatesToBeNotAfter(ColumnMapExpectation):
    """Days up to and including ``latest``."""

    latest: str

    map_metric: ClassVar[str] = "column_values.not_after"
    success_keys: ClassVar[tuple[str, ...]] = ("latest", "mostly")


class _OneOfTwoLabels(ColumnMapMetricProvider):
    condition_metric_name = "column_values.one_of_two_labels"
    condition_value_keys = ("positive",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, positive: Any, **_: Any) -> pd.Series:  # noqa: N805
        return one_of_two(column, positive)


class ExpectColumnValuesToBeOneOfTwoLabels(ColumnMapExpectation):
    """``positive`` or the most frequent other value; every row fails if ``positive`` is absent."""

    positive: bool | int | float | str

    map_metric: ClassVar[str] = "column_values.one_of_two_labels"
    success_keys: ClassVar[tuple[str, ...]] = ("positive", "mostly")


class _AtMost(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.a_at_most_b"
    condition_domain_keys = PAIR_DOMAIN
    condition_value_keys = ()

    @column_pair_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column_A: pd.Series, column_B: pd.Series, **_: Any) -> pd.Series:  # noqa: N803, N805
        return (column_A <= column_B) | column_A.isna() | column_B.isna()


class ExpectColumnPairValuesAToBeAtMostB(ColumnPairMapExpectation):
    """In each row the value of ``column_A`` is at most that of ``column_B``."""

    ignore_row_if: Literal["both_values_are_missing", "either_value_is_missing", "neither"] = (
        "neither"
    )

    success_keys: ClassVar[tuple[str, ...]] = PAIR_SUCCESS
    map_metric: ClassVar[str] = "column_pair_values.a_at_most_b"


class _Increasing(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.times_increase_per_entity"
    condition_domain_keys = PAIR_DOMAIN
    condition_value_keys = ()

    @column_pair_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column_A: pd.Series, column_B: pd.Series, **_: Any) -> pd.Series:  # noqa: N803, N805
        return increasing(column_A, column_B)


class ExpectTimesToIncreasePerEntity(ColumnPairMapExpectation):
    """Each row's time is later than that of its entity's previous row.

    Arguments: ``entity_column`` and ``time_column`` (or ``column_A`` and ``column_B``).
    """

    ignore_row_if: Literal["both_values_are_missing", "either_value_is_missing", "neither"] = (
        "neither"
    )

    success_keys: ClassVar[tuple[str, ...]] = PAIR_SUCCESS
    map_metric: ClassVar[str] = "column_pair_values.times_increase_per_entity"

    @pydantic.root_validator(pre=True)
    def _own_names(cls, values: dict[str, Any]) -> dict[str, Any]:  # noqa: N805
        names = {"entity_column": "column_A", "time_column": "column_B"}
        return {names.get(name, name): value for name, value in values.items()}


class _Distinct(MulticolumnMapMetricProvider):
    condition_metric_name = "multicolumn_values.first_of_its_copies"
    condition_domain_keys = (
        "batch_id",
        "table",
        "column_list",
        "row_condition",
        "condition_parser",
        "ignore_row_if",
    )
    condition_value_keys = ()

    @multicolumn_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column_list: pd.DataFrame, **_: Any) -> pd.Series:  # noqa: N805
        return ~column_list.duplicated()


class ExpectRowsToBeDistinct(MulticolumnMapExpectation):
    """No row duplicates an earlier one; missing values are equal."""

    ignore_row_if: Literal["all_values_are_missing", "any_value_is_missing", "never"] = "never"

    map_metric: ClassVar[str] = "multicolumn_values.first_of_its_copies"


def increasing(entity: pd.Series, time: pd.Series) -> pd.Series:
    """Return for each row whether its time is later than that of its entity's previous row.

    True where entity or time is missing, and for the first row of an entity.
    """
    import numpy as np
    import pandas as pd

    numeric = pd.api.types.is_numeric_dtype(time.dtype)
    times = time if numeric else as_dates(time)
    moments = times.to_numpy(dtype="float64") if numeric else times.to_numpy().view("i8")
    codes, distinct = pd.factorize(entity)
    known = (codes >= 0) & times.notna().to_numpy()
    rows = np.flatnonzero(known)
    small = codes[rows].astype("int16" if len(distinct) <= np.iinfo("int16").max else "int64")
    by_entity = rows[np.argsort(small, kind="stable")]
    same = codes[by_entity][1:] == codes[by_entity][:-1]
    later = moments[by_entity][1:] > moments[by_entity][:-1]
    increases = np.ones(len(time), dtype=bool)
    increases[by_entity[1:]] = later | ~same
    return pd.Series(increases, index=time.index)
