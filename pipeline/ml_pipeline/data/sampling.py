"""Deterministic samples of the data, for quick runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.data.typed_columns import as_dates, as_text

if TYPE_CHECKING:
    import pandas as pd

MIN_ENTITIES = 20


def sample_newest(
    frame: pd.DataFrame, size: int, entity: str | None = None, time: str | None = None
) -> pd.DataFrame:
    """Return at most ``size`` rows in their order: the newest of 20 entities (all, if fewer).

    The entities are those with the newest rows; ties are broken by the number of rows, then by
    name. More entities are added where 20 have fewer than ``size`` rows. The first 20 keep at least
    their newest row, even where ``size`` is smaller than their number. Without a time column, rows
    are chosen by a hash of their content; without entities, the newest rows are chosen. A row
    whose date cannot be parsed counts as the oldest.
    """
    import numpy as np
    import pandas as pd

    if len(frame) <= size:
        return frame
    if time is None:
        hashes = pd.util.hash_pandas_object(frame.astype("str"), index=False).to_numpy()
        return frame.iloc[np.sort(np.argsort(hashes, kind="stable")[:size])]
    keys = pd.DataFrame({"time": as_dates(frame[time]), "position": np.arange(len(frame))})
    keys["time"] = keys["time"].to_numpy()
    keys["entity"] = as_text(frame[entity]).to_numpy() if entity else ""
    by_entity = keys.groupby("entity", sort=True)["time"].agg(["max", "size"]).reset_index()
    ranked = by_entity.sort_values(["max", "size", "entity"], ascending=[False, False, True])
    filling = int((ranked["size"].cumsum() < size).sum()) + 1
    names = ranked["entity"].iloc[: max(MIN_ENTITIES, filling)]
    chosen = keys[keys["entity"].isin(names)]
    ordered = chosen.sort_values(["time", "entity"], ascending=[False, True], kind="stable")
    latest = ordered.drop_duplicates("entity") if entity else ordered.iloc[:0]
    first = latest[latest["entity"].isin(names.iloc[:MIN_ENTITIES])]
    rest = ordered[~ordered["position"].isin(first["position"])]
    kept = pd.concat([first, rest.iloc[: max(size - len(first), 0)]])
    return frame.iloc[np.sort(kept["position"].to_numpy())]
