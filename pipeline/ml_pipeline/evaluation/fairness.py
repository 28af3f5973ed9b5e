"""How a model does for each group of entities (fairness), with fairlearn's MetricFrame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]

MIN_ROWS = 100
"""Groups with fewer labelled rows are shown, and left out of the gaps."""


@dataclass(frozen=True)
class ByGroup:
    """Per group: rows, share of class 1 and metrics; and the gap of each metric between groups."""

    groups: Mapping[str, Mapping[str, Any]]
    gaps: Mapping[str, float]
    """Largest less smallest value over the groups of at least ``MIN_ROWS`` rows; NaN if unknown."""
    task: Task = BINARY

    def to_json(self) -> dict[str, Any]:
        return {"groups": dict(self.groups), "gaps": dict(self.gaps)}

    def as_text(self) -> dict[str, list[Any]]:
        """Return a row a group and one of the gaps as texts, ``header`` and ``rows``."""
        shown = self.task.group_metrics
        titles = [self.task.metrics[name].title for name in shown]
        rows = [
            [group, str(found["rows"]), *(_shown(found[name]) for name in shown)]
            for group, found in self.groups.items()
        ]
        gaps = [f"gap (of {MIN_ROWS} rows and more)", "", *(_shown(self.gaps[n]) for n in shown)]
        return {"header": ["group", "rows", *titles], "rows": [*rows, gaps]}


def _shown(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"


def by_group(
    labels: Floats, predictions: Floats, groups: NDArray[np.object_], task: Task = BINARY
) -> ByGroup:
    """Measure each group.

    Args:
        labels: [n].
        predictions: [n] or [n, k].
        groups: Each row's group as text [n].
        task: Whose labels and predictions they are.

    Raises:
        ValueError: there are no rows.
    """
    import numpy as np
    from fairlearn.metrics import MetricFrame, count

    metrics, names = task.metrics, task.group_metrics

    def of(name: str) -> Any:
        def measure(y_true: Any, place: Any) -> float:
            y = np.asarray(y_true, dtype=np.float64)
            p = predictions[np.asarray(place, dtype=np.int64)]
            return metrics[name].value(y, p, np.zeros(len(y), dtype=np.int64))

        return measure

    if not len(labels):
        raise ValueError("no rows to measure groups on")
    frame = MetricFrame(
        metrics={"rows": count} | {name: of(name) for name in names},
        y_true=labels,
        y_pred=np.arange(len(labels)),
        sensitive_features=np.asarray(groups, dtype=object).astype(str),
    ).by_group
    large = frame[frame["rows"] >= MIN_ROWS]
    gaps = {}
    for name in names:
        values = large[name].to_numpy(dtype=np.float64)
        usable = len(values) > 1 and bool(np.isfinite(values).all())
        gaps[name] = float(np.ptp(values)) if usable else float(np.nan)
    shown = {
        str(group): {"rows": int(row["rows"])} | {name: float(row[name]) for name in names}
        for group, row in frame.iterrows()
    }
    return ByGroup(shown, gaps, task)
