"""Sensitivity of predictions to noise in the last decimals of the inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.features.schema import FeatureSchema
    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]

Predict = Callable[["NDArray[np.float32]"], "Floats"]


def noise_effect(
    predict: Predict,
    schema: FeatureSchema,
    features: pd.DataFrame,
    *,
    relative: float,
    seed: int,
    task: Task = BINARY,
) -> float:
    """Return the mean change of the prediction when every number moves by a tiny share.

    Each finite value is multiplied by 1 + u, u uniform in ± ``relative``. Features that hold whole
    numbers only (counts, weekdays) have no decimals and stay. The mean, not the maximum, is
    returned: a tree's answer may jump for the few rows that lie on a threshold.

    Args:
        predict: From encoded rows float32 [n, width] to predictions [n] or [n, k].
        schema: How raw features are encoded.
        features: Raw features, one row each.
        relative: Size of the noise.
        seed: Of the noise.
        task: In whose unit changes are measured.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    moved = features.copy()
    for feature in schema.features:
        if feature.kind != "numeric":
            continue
        values = features[feature.name].to_numpy(dtype=np.float64)
        known = values[np.isfinite(values)]
        if len(known) and not (known == np.rint(known)).all():
            factor = 1 + generator.uniform(-relative, relative, len(values))
            moved[feature.name] = values * factor
    before = predict(schema.encode(features))
    after = predict(schema.encode(moved))
    return float(np.abs(task.changes(before, after)).mean())
