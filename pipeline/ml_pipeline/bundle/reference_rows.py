"""The rows of ``reference.parquet``: those that the model was fitted to, and later ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.core.artefacts import FITTED_COLUMN, UNIT_COLUMN

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


def fitted_rows(reference: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the fit, which features are compared with."""
    if FITTED_COLUMN not in reference.columns:
        return reference
    return reference[reference[FITTED_COLUMN].astype(bool)].reset_index(drop=True)


def later_rows(reference: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that the model was not fitted to, which predictions are compared with.

    In bundles without such rows, those of the fit.
    """
    if FITTED_COLUMN not in reference.columns:
        return reference
    later = reference[~reference[FITTED_COLUMN].astype(bool)]
    return (later if len(later) else reference).reset_index(drop=True)


def units_of(rows: pd.DataFrame) -> Ints | None:
    """Return the day of each row [n]; None for undated rows, and in bundles without days."""
    if UNIT_COLUMN not in rows.columns:
        return None
    days: Ints = rows[UNIT_COLUMN].to_numpy(dtype="int64")
    return days
