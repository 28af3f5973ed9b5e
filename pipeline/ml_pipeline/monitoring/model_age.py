"""The age of a model: that of the newest data that shaped it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

SHAPED_UNTIL = ("validation_end", "train_end")


def training_end(cutoffs: Mapping[str, str | None]) -> date | None:
    """Return the last day that shaped a model, by its cut-offs.

    None where the data have no dates, or count their times in numbers.
    """
    ended = next((cutoffs[key] for key in SHAPED_UNTIL if cutoffs.get(key)), None)
    try:
        return None if ended is None else date.fromisoformat(ended[:10])
    except ValueError:
        return None
