"""How much a model depends on each feature: permutation importance on its reference rows.

After Breiman (2001), "Random forests", Machine Learning 45, section 10; here the change of the
predictions is measured, so that no labels are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.bundle.reader import Bundle

if TYPE_CHECKING:
    import pandas as pd

ROWS = 2_000
"""Reference rows that are predicted once for each feature."""


def importance_shares(bundle: Bundle, reference: pd.DataFrame) -> dict[str, float]:
    """Return each feature's share of the model's dependence on its features; they sum to 1.

    The values of one feature are moved to other rows (by half the number of rows, so the result is
    always the same), and the mean absolute change of the predictions is its importance. All shares
    are 0 for a model that predicts a constant.

    Args:
        bundle: The model.
        reference: Rows of its training in the columns of its schema.
    """
    import numpy as np

    names = bundle.schema.names
    rows = reference.loc[:, list(names)].iloc[:: max(1, len(reference) // ROWS)]
    encoded = bundle.schema.encode(rows)
    usual = bundle.predict(encoded)
    changes: dict[str, float] = {}
    for name, columns in _columns_of(bundle).items():
        moved = encoded.copy()
        moved[:, columns] = np.roll(encoded[:, columns], len(rows) // 2, axis=0)
        changes[name] = float(np.abs(bundle.predict(moved) - usual).mean())
    total = sum(changes.values())
    return {name: change / total if total > 0 else 0.0 for name, change in changes.items()}


def _columns_of(bundle: Bundle) -> dict[str, slice]:
    """Return the columns of the encoded matrix that hold each feature."""
    columns, start = {}, 0
    for feature in bundle.schema.features:
        width = len(feature.categories) if feature.kind == "categorical" else 1
        columns[feature.name] = slice(start, start + width)
        start += width
    return columns
