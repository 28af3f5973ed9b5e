"""Rows that stand for a model: golden and random ones to prove it, a sample to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.features.schema import Feature, FeatureSchema
    from ml_pipeline.training.split import Rows

GOLDEN = 32
RANDOM = 10_000
REFERENCE = 10_000
MISSING = 0.1
"""Share of missing values in the random rows."""
BEYOND = 0.1
"""How far random numbers go beyond the range that training saw, as a share of it."""


def spread(rows: Rows, count: int) -> Rows:
    """Return at most ``count`` of the rows, evenly spread, first and last included."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


def golden_rows(features: pd.DataFrame, rows: Rows, count: int = GOLDEN) -> Rows:
    """Return ``count`` of the rows, evenly spread; a quarter has missing values, where any has."""
    gaps = features.iloc[rows].isna().any(axis=1).to_numpy()
    partly = spread(rows[gaps], count // 4)
    whole = spread(rows[~gaps], count - len(partly))
    if len(whole) + len(partly) < count:
        partly = spread(rows[gaps], count - len(whole))
    return np.sort(np.concatenate([whole, partly]))


def random_rows(
    features: pd.DataFrame, schema: FeatureSchema, seed: int, count: int = RANDOM
) -> pd.DataFrame:
    """Return random rows: one half uniform over each feature's range and a little beyond it.

    The other half draws each feature from the rows given, so that values lie on the trees'
    thresholds; a tenth of all values is missing.
    """
    import pandas as pd

    generator = np.random.default_rng(seed)
    columns = {
        feature.name: _column(features[feature.name], feature, generator, count)
        for feature in schema.features
    }
    return pd.DataFrame(columns)


def _column(
    seen: pd.Series, feature: Feature, generator: np.random.Generator, count: int
) -> pd.Series:
    import pandas as pd

    drawn = seen.to_numpy(dtype=object)[generator.integers(0, len(seen), count)]
    uniform = generator.random(count)
    if feature.kind == "categorical":
        choices = np.array([*feature.categories, None], dtype=object)
        made = choices[np.minimum((uniform * len(choices)).astype(int), len(choices) - 1)]
    else:
        low = 0.0 if feature.minimum is None else feature.minimum
        high = 1.0 if feature.maximum is None else feature.maximum
        span = (high - low) or 1.0
        made = (low - BEYOND * span + uniform * (1 + 2 * BEYOND) * span).astype(object)
    values = np.where(generator.random(count) < 1 / 2, drawn, made)
    values[generator.random(count) < MISSING] = None
    return pd.Series(
        values, name=feature.name, dtype="float32" if feature.kind == "numeric" else "object"
    )
