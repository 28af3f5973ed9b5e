"""Rows that neither model learned from, by the training records of their bundles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.artefacts import TIME_COLUMN

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TrainingLineage:
    """The ``training`` record of a bundle: how rows were split, and the cutoff dates."""

    problem: str
    method: str
    split: Mapping[str, Any]
    validation_end: date | None
    holdout_start: date | None
    data: str

    @classmethod
    def of(cls, training: Mapping[str, Any]) -> TrainingLineage:
        """Read the record.

        Raises:
            ValueError: it lacks a key, or its dates overlap.
        """
        try:
            cutoffs, split = training["cutoffs"], training["split"]
            lineage = cls(
                problem=str(training["problem"]),
                method=str(split["method"]),
                split=dict(split),
                validation_end=_date(cutoffs.get("validation_end") or cutoffs.get("train_end")),
                holdout_start=_date(cutoffs.get("holdout_start")),
                data=str(training["fingerprint"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"the training record is incomplete: {error!r}") from None
        if lineage.method == "time":
            if lineage.validation_end is None or lineage.holdout_start is None:
                raise ValueError("the training record has no cutoff dates")
            if lineage.holdout_start <= lineage.validation_end:
                raise ValueError(
                    f"its holdout starts {lineage.holdout_start}, not after its last training day "
                    f"{lineage.validation_end}"
                )
        return lineage


@dataclass(frozen=True)
class ComparableRows:
    """A mask over the challenger's holdout, or in ``why`` the reason that there is none."""

    rows: NDArray[np.bool_] | None = None
    first_day: str | None = None
    why: str = ""


def comparable_rows(
    holdout: pd.DataFrame, challenger: Mapping[str, Any], champion: Mapping[str, Any] | None
) -> ComparableRows:
    """Return the holdout's rows that lie after both cutoffs and their embargo.

    Dated rows: from the later of both models' ``holdout_start`` on, which is the first day after
    validation and embargo. Undated rows: the challenger's holdout, if both models were split by
    the same hash of the same columns of a row, so that the champion left the same rows out; a hash
    of clusters holds for the same data only.

    Args:
        holdout: The challenger's labelled holdout rows, with ``__time``.
        challenger: Its training record.
        champion: The champion's; None for a heuristic, which was fitted on the
            challenger's training part.
    """
    import numpy as np
    import pandas as pd

    records = {"challenger": challenger} | ({"champion": champion} if champion is not None else {})
    lineages = {}
    for name, record in records.items():
        try:
            lineages[name] = TrainingLineage.of(record)
        except ValueError as error:
            return ComparableRows(why=f"{name}: {error}")
    kinds = {(lineage.problem, lineage.method) for lineage in lineages.values()}
    if len(kinds) > 1:
        splits = " and ".join(f"{problem} split by {method}" for problem, method in sorted(kinds))
        return ComparableRows(why=f"not comparable: {splits}")
    mine = lineages["challenger"]
    if mine.method != "time":
        if any(lineage.split != mine.split for lineage in lineages.values()):
            return ComparableRows(why="not comparable: the models were split by different hashes")
        if (
            mine.split.get("hash_of") != "row"
            and len({line.data for line in lineages.values()}) > 1
        ):
            return ComparableRows(why="not comparable: other data number their clusters anew")
        return ComparableRows(np.ones(len(holdout), dtype=bool))
    first = max(lineage.holdout_start or date.max for lineage in lineages.values())
    rows = (holdout[TIME_COLUMN] >= pd.Timestamp(first)).to_numpy()
    if not rows.any():
        return ComparableRows(why=f"no labelled row lies on or after {first}, after both cutoffs")
    return ComparableRows(rows, first.isoformat())


def _date(text: str | None) -> date | None:
    return date.fromisoformat(str(text)[:10]) if text else None
