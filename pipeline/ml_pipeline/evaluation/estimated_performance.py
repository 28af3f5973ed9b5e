"""The estimate of a task's metric from its predictions alone, before labels are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline.statistics.estimated_performance import (
    Estimate,
    estimate_by_drawing,
    estimate_mean,
    estimate_share,
    expected_auc_by_day,
    row_moments,
)
from ml_pipeline.statistics.unit_mean import CONFIDENCE, unit_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.evaluation.holdout import Sample
    from ml_pipeline.tasks.base import Task
    from ml_pipeline.tasks.metrics import Metric

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

SEES = (
    "it sees covariate shift only (other rows), not a changed relation of features and label "
    "(concept drift)"
)
"""What every message about an estimate says."""
NO_PROBABILITIES = (
    "a regression predicts no distribution of its label, so that its errors cannot be estimated "
    "before labels come"
)
ASSUMED = "it measures calibration, which the estimate takes for granted"
RANKED = ("auc", "within_day_auc")
"""Metrics of a binary classifier whose expected value has a closed form."""


@dataclass(frozen=True)
class Calibration:
    """How far labels came out from the estimate on the rows of the gate's comparison.

    Attributes:
        bias: metric minus its estimate; it is added to estimates of live rows.
        std_error: of the bias, allowing for autocorrelated days.
        degrees: those of Student's t.
    """

    bias: float
    std_error: float
    degrees: float


def why_not(metric: Metric, task: Task) -> str:
    """Return why a task's metric cannot be estimated without labels; empty where it can."""
    if task.objective.kind == "regression":
        return NO_PROBABILITIES
    return ASSUMED if metric.inflated else ""


def estimate(
    metric: Metric, task: Task, predictions: Floats, codes: Integers, units: int
) -> Estimate | None:
    """Return the metric that calibrated predictions [n] or [n, k] are expected to have.

    Args:
        metric: one that :func:`why_not` has no objection to.
        task: of the predictions.
        predictions: probabilities.
        codes: each row's unit [n], from 0 to ``units`` - 1.
        units: how many there are.

    Returns:
        None where hardly any labels would define the metric.
    """
    import numpy as np

    if metric.row_loss is not None:
        losses, probabilities = _losses(metric, predictions)
        means, variances = row_moments(losses, probabilities)
        if ((losses == 0) | (losses == 1)).all():
            return estimate_share(means, confidence=CONFIDENCE)
        return estimate_mean(means, variances, confidence=CONFIDENCE)
    centre = None
    if metric.name in RANKED and task.objective.kind == "binary":
        by_day = metric.by_day is not None
        where = codes if by_day else np.zeros(len(predictions), dtype=np.int64)
        areas = expected_auc_by_day(predictions, where, units if by_day else 1)
        if not np.isfinite(areas).any():
            return None
        centre = float(np.nanmean(areas))
    return estimate_by_drawing(
        metric.value, predictions, codes, confidence=CONFIDENCE, centre=centre
    )


def calibration(metric: Metric, sample: Sample, predictions: Floats) -> Calibration | None:
    """Return how far the labels of a sample came out from their estimate.

    None for a metric that cannot be estimated, or has no value for a unit, and where there are too
    few units to know.
    """
    import numpy as np

    if why_not(metric, sample.task) or not metric.daily:
        return None
    codes, units = sample.codes, sample.clusters
    sums, weights = metric.unit_sums(sample.labels, predictions, codes, units)
    if metric.row_loss is not None:
        means, _ = row_moments(*_losses(metric, predictions))
        expected = np.bincount(codes, weights=means, minlength=units)
    elif metric.name in RANKED:
        expected = np.nan_to_num(expected_auc_by_day(predictions, codes, units))
    else:
        return None
    try:
        found = unit_mean(sums - expected, weights, ordered=sample.unit == "day")
    except ValueError:  # one unit, or no variance
        return None
    return Calibration(found.value, found.std_error, found.degrees)


def _losses(metric: Metric, predictions: Floats) -> tuple[Floats, Floats]:
    """Return each row's loss for each label, and the labels' probabilities, both [n, k]."""
    import numpy as np

    assert metric.row_loss is not None
    probabilities = (
        predictions if predictions.ndim > 1 else np.column_stack([1 - predictions, predictions])
    )
    labels = np.ones(len(predictions))
    columns = [
        metric.row_loss(labels * label, predictions) for label in range(probabilities.shape[1])
    ]
    return np.column_stack(columns), probabilities
