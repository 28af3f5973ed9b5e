"""A problem of three columns, and small frames."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
import pytest
from ml_pipeline.data.rules import DataTest

NOT_NULL = "expect_column_values_to_not_be_null"
BETWEEN = "expect_column_values_to_be_between"


@dataclass(frozen=True)
class Col:
    name: str
    kind: str
    required: bool = True
    critical: bool = True


@dataclass(frozen=True)
class Shop:
    """Sales per shop and day."""

    rules: tuple[DataTest, ...] = ()
    keeps_other_columns: bool = True
    entity_column: str | None = "shop"
    time_column: str | None = "day"
    group_column: str | None = "region"
    cols: tuple[Col, ...] = field(
        default=(
            Col("shop", "text"),
            Col("day", "date"),
            Col("sales", "number"),
            Col("visits", "number", critical=False),
            Col("region", "text", required=False, critical=False),
        )
    )

    def columns(self):
        return self.cols

    def feature_columns(self, names):
        return ()

    def expectations(self):
        return self.rules


@pytest.fixture
def shop() -> Shop:
    return Shop(
        rules=(
            DataTest("sales_present", NOT_NULL, {"column": "sales"}, "quarantine", 0.5),
            DataTest(
                "sales_positive",
                BETWEEN,
                {"column": "sales", "min_value": 0, "strict_min": True},
                "quarantine",
                0.5,
            ),
            DataTest(
                "visits_small",
                BETWEEN,
                {"column": "visits", "max_value": 100},
                "blank",
                0.5,
                "visits",
            ),
        )
    )


@pytest.fixture
def sales() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "shop": ["a", "b", "a", "b"],
            "day": ["2024-01-01", "2024-01-01", "2024-01-02", "2024-01-02"],
            "sales": [1.0, 2.0, 3.0, 4.0],
            "visits": [10.0, 20.0, 30.0, 40.0],
        }
    )
