"""The row of the clean frame that each row of the matrix was computed from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.core.artefacts import ENTITY_COLUMN, TIME_COLUMN

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.problem import Problem


def positions(
    frame: pd.DataFrame, matrix: pd.DataFrame, problem: Problem
) -> NDArray[np.int64] | None:
    """Return each matrix row's position in the clean frame; None if it is not unique.

    A matrix of all rows has them in the frame's order; one that was cut to a sample is found again
    by time and entity, which only dated problems have.

    Args:
        frame: ``clean.parquet`` [m rows].
        matrix: ``matrix.parquet`` [n rows], with ``__time`` and ``__entity``.
        problem: Knows what the frame's columns are called.
    """
    import numpy as np
    import pandas as pd

    if len(frame) == len(matrix):
        return np.arange(len(frame))
    if problem.time_column is None or problem.entity_column is None:
        return None
    every = pd.MultiIndex.from_arrays(
        [
            pd.to_datetime(frame[problem.time_column]).astype("datetime64[ns]"),
            frame[problem.entity_column].astype("object").astype(str),
        ]
    )
    keys = pd.MultiIndex.from_arrays(
        [
            pd.to_datetime(matrix[TIME_COLUMN]).astype("datetime64[ns]"),
            matrix[ENTITY_COLUMN].astype("object").astype(str),
        ]
    )
    if not every.is_unique:
        return None
    found = every.get_indexer(keys)
    return None if (found < 0).any() else found.astype(np.int64)
