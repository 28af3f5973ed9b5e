"""Every metric of every predictor on the same rows, each with its interval, as one table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.statistics.resampling import percentile_intervals
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.evaluation.holdout import Sample
    from ml_pipeline.tasks.base import Task
    from ml_pipeline.tasks.metrics import Metric

    Floats = NDArray[np.float64]


MODEL = "model"
"""Name of the challenger among the predictors."""


@dataclass(frozen=True)
class Measured:
    """A metric's value and its 95 % interval; where there is none, ``skipped`` says why."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    skipped: str = ""

    def to_json(self) -> dict[str, Any]:
        if self.skipped:
            return {"skipped": self.skipped}
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        if self.low is None or self.high is None:
            return f"{self.value:.4f}"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


Table = Mapping[str, Mapping[str, Measured]]
"""Predictor: metric: what was measured."""


def measure(
    sample: Sample, predictions: Mapping[str, Floats], *, resamples: int, seed: int
) -> Table:
    """Measure each predictor by each metric, with intervals by resampling clusters.

    All intervals rest on the same resamples. A metric that the rows do not define is skipped with
    its reason, for each predictor alike.

    Raises:
        ValueError: there are no rows, or a prediction is not finite.
    """
    import numpy as np

    if not len(sample.labels):
        raise ValueError("no labelled rows to measure on")
    metrics = sample.task.metrics
    reasons = {
        (predictor, name): _undefined(metric, sample, predictor)
        for predictor in predictions
        for name, metric in metrics.items()
    }
    defined = [key for key, reason in reasons.items() if not reason]
    for predictor, p in predictions.items():
        if not np.isfinite(p).all():
            raise ValueError(f"{predictor}: {int((~np.isfinite(p)).sum())} predictions not finite")
    intervals = percentile_intervals(
        {
            (predictor, name): metrics[name].statistic(
                sample.labels, predictions[predictor], sample.codes, sample.clusters
            )
            for predictor, name in defined
        },
        sample.clusters,
        resamples=resamples,
        seed=seed,
        inflated=[(p, name) for p, name in defined if metrics[name].inflated],
    )
    table: dict[str, dict[str, Measured]] = {}
    for predictor, p in predictions.items():
        table[predictor] = {}
        for name, metric in metrics.items():
            reason = reasons[predictor, name]
            if reason:
                table[predictor][name] = Measured(skipped=reason)
                continue
            found = metric.value(sample.labels, p, sample.codes)
            if not math.isfinite(found):
                table[predictor][name] = Measured(skipped="these predictions do not define it")
                continue
            interval = intervals.get((predictor, name)) if sample.clusters > 1 else None
            table[predictor][name] = Measured(
                found,
                interval.low if interval else None,
                interval.high if interval else None,
            )
    return table


def as_text(
    table: Table, shown: Mapping[str, str], task: Task = BINARY
) -> dict[str, Sequence[Any]]:
    """Return the table as texts, ``header`` and ``rows``; empty columns are left out."""
    metrics = [
        metric
        for name, metric in task.metrics.items()
        if any(row[name].value is not None for row in table.values())
    ]
    return {
        "header": ["model", *(metric.title for metric in metrics)],
        "rows": [
            [shown.get(predictor, predictor), *(str(row[metric.name]) for metric in metrics)]
            for predictor, row in table.items()
        ],
    }


def _undefined(metric: Metric, sample: Sample, predictor: str) -> str:
    """Return why these rows do not define a metric of a predictor, or nothing."""
    if metric.model_only and predictor != MODEL:
        return "it has no prediction interval"
    if metric.needs_days and sample.unit != "day":
        return "the rows are not dated, so there are no days"
    return sample.task.undefined(metric, sample.labels, sample.codes, sample.clusters)
