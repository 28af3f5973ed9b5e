"""Predictions made by hand, of daily bars: their writing needs no model."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pandas as pd
import pytest
from ml_pipeline.scoring.predictions import Predictions

MakePredictions = Callable[..., Predictions]


@pytest.fixture
def make_predictions() -> MakePredictions:
    def make(
        *rows: tuple[str, str, float],
        version: int | None = 3,
        digest: str = "a" * 64,
        at: datetime = datetime(2026, 5, 1, 12, tzinfo=UTC),
    ) -> Predictions:
        days, symbols, probabilities = zip(*rows, strict=True)
        table = pd.DataFrame(
            {
                "date": pd.to_datetime(days).as_unit("us"),
                "symbol": pd.array(symbols, dtype="str"),
                "probability": probabilities,
                "model_version": pd.array([version] * len(rows), dtype="Int64"),
                "bundle_digest": digest,
                "scored_at": [pd.Timestamp(at).as_unit("us")] * len(rows),
            }
        )
        return Predictions(table, ("date", "symbol"), "date", 0)

    return make
