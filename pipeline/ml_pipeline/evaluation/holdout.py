"""The rows of a holdout as arrays: labels, and the clusters that are the units of evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ml_pipeline.core.artefacts import CLUSTER_COLUMN, LABEL_COLUMN, TIME_COLUMN
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

Unit = Literal["day", "cluster", "row"]


@dataclass(frozen=True)
class Sample:
    """Labelled rows.

    ``labels`` [n] are those of ``task``; ``codes`` [n] the rows' clusters as 0 .. ``clusters`` - 1,
    in time order where ``unit`` is ``day``; ``names`` what the clusters are called (a day's ISO
    date).
    """

    labels: Floats
    codes: Integers
    names: tuple[str, ...]
    unit: Unit
    task: Task = BINARY

    @property
    def clusters(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, rows: pd.DataFrame, task: Task = BINARY) -> Sample:
        """Take labels and clusters from rows of ``matrix.parquet``, all of them labelled.

        The unit is the day where the rows are dated and ``__cluster`` does not say otherwise, else
        the cluster; where neither binds rows together, each row is a unit of its own.
        """
        import numpy as np
        import pandas as pd

        labels = rows[LABEL_COLUMN].to_numpy(dtype=np.float64)
        clusters, unit = _clusters(rows)
        codes, names = pd.factorize(clusters, sort=True)
        called = tuple(_name(name) for name in names)
        return cls(labels, codes.astype(np.int64), called, unit, task)


def _clusters(rows: pd.DataFrame) -> tuple[pd.Series, Unit]:
    import numpy as np
    import pandas as pd

    time = rows[TIME_COLUMN]
    dated = pd.api.types.is_datetime64_any_dtype(time) and time.notna().all()
    day = time.dt.normalize() if dated else None
    clusters = rows.get(CLUSTER_COLUMN)
    if clusters is None or not clusters.notna().all():
        return (day, "day") if day is not None else (pd.Series(np.arange(len(rows))), "row")
    clusters = clusters.reset_index(drop=True)
    if day is not None and _same_partition(clusters, day.reset_index(drop=True)):
        return day, "day"
    return clusters, "row" if clusters.nunique() == len(clusters) else "cluster"


def _same_partition(one: pd.Series, other: pd.Series) -> bool:
    import pandas as pd

    first, second = pd.factorize(one)[0], pd.factorize(other)[0]
    return bool((first == second).all())


def _name(value: object) -> str:
    date = getattr(value, "date", None)
    return str(date()) if callable(date) else str(value)
