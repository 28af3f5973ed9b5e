"""The newest rows of a matrix, for quick runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml_pipeline.training.split import Rows, days_of, numbered, row_hashes, shares

if TYPE_CHECKING:
    import pandas as pd

MIN_ENTITIES = 20


def newest_rows(keys: pd.DataFrame, limit: int, days: int) -> Rows:
    """Return the rows of the newest whole days, ``limit`` rows at most, but at least one day.

    Where that many rows do not reach back ``days`` days, entities are left out, those with the
    fewest rows first, until they do or 20 are left; as many stay as give ``limit`` rows.

    Args:
        keys: columns ``time`` and ``entity``.
        limit: the most rows.
        days: the days to select.
    """
    everything = np.arange(len(keys))
    if len(keys) <= limit:
        return everything
    day = days_of(keys["time"])
    newest = _whole_days(day, everything, limit)
    entities = keys.groupby("entity", sort=True)["time"].agg(["size", "max"])
    entities = entities.sort_values(["size", "max"], ascending=False, kind="stable")
    filling = int((entities["size"].cumsum() < limit).sum()) + 1
    keep = min(len(entities), max(MIN_ENTITIES, limit // max(days, 1), filling))
    if len(np.unique(day[newest])) >= days or keep == len(entities):
        return newest
    chosen = np.flatnonzero(keys["entity"].isin(entities.index[:keep]).to_numpy())
    return _whole_days(day, chosen, limit)


def hashed_rows(frame: pd.DataFrame, limit: int) -> Rows:
    """Return ``limit`` rows without a time, in order, chosen by a hash of their content."""
    if len(frame) <= limit:
        return np.arange(len(frame))
    place = shares(numbered(row_hashes(frame)), salt=3)
    return np.sort(np.argsort(place, kind="stable")[:limit])


def _whole_days(day: np.ndarray[Any, Any], rows: Rows, limit: int) -> Rows:
    days, counts = np.unique(day[rows], return_counts=True)
    days_kept = max(1, int((np.cumsum(counts[::-1]) <= limit).sum()))
    newest: Rows = rows[day[rows] >= days[-days_kept]]
    return newest
