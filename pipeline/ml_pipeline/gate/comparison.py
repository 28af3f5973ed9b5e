"""Two models on the same rows: the difference of a metric per unit of evidence, and its test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.errors import UsageError
from ml_pipeline.statistics.paired_test import PairedTest, paired_difference
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.tasks.metrics import named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.evaluation.holdout import Sample
    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """A metric of challenger and other model on the same rows. ``test.effect`` > 0: better.

    ``challenger`` and ``other`` are means over the same units (days, clusters or rows). Without a
    test, ``why`` says what prevents it.
    """

    metric: str
    against: str
    unit: str
    challenger: float | None = None
    other: float | None = None
    test: PairedTest | None = None
    left_out: int = 0
    """Units on which the metric is not defined, for both models alike."""
    why: str = ""
    metric_title: str = ""

    @property
    def title(self) -> str:
        """The metric as reports spell it."""
        return self.metric_title or self.metric

    def to_json(self) -> dict[str, Any]:
        values = dict(vars(self))
        del values["metric_title"]
        values["test"] = self.test.to_json() if self.test else None
        return values


def comparable_metric(name: str, key: str, task: Task = BINARY) -> str:
    """Return the name of a metric by which models can be compared unit by unit.

    Raises:
        UsageError: the metric is unknown, or has no value for a single day.
    """
    if not named(task.metrics, name, key).daily:
        usable = ", ".join(metric.name for metric in task.metrics.values() if metric.daily)
        raise UsageError(
            f"{key}: '{name}' has no value for a single day, so models cannot be compared by it",
            expected=f"one of: {usable}",
        )
    return name


def compare(
    metric: str,
    sample: Sample,
    challenger: Floats,
    other: Floats | None,
    *,
    against: str,
    null: float,
    alpha: float,
    power: float,
    min_units: int,
) -> Comparison:
    """Compare two models by one metric on the same rows.

    Nothing is filled in: a prediction that is missing or not finite, too few units, or differences
    without variance leave the comparison without a test.

    Args:
        metric: By name; it must be defined per day.
        sample: The rows' labels and units.
        challenger: Its predictions [n] or [n, k].
        other: The other model's predictions; None where it has none.
        against: What the other model is called.
        null: The gain that has to be exceeded, in the task's unit of margins; for a tolerated
            loss, below 0.
        alpha: Error rate of each one-sided bound.
        power: Probability of the detectable effect.
        min_units: Units that a test needs at least.
    """
    import numpy as np

    measured = sample.task.metrics[metric]

    def none(why: str) -> Comparison:
        return Comparison(metric, against, sample.unit, why=why, metric_title=measured.title)

    if other is None:
        return none(f"{against} has no predictions for these rows")
    for name, values in (("the challenger", challenger), (against, other)):
        if len(values) != len(sample.labels):
            return none(f"{name} has {len(values)} predictions for {len(sample.labels)} rows")
        if values.ndim != sample.task.targets(sample.labels).ndim:
            return none(f"{name} predicts something else than a {sample.task.title}")
        bad = int((~np.isfinite(values)).sum())
        if bad:
            return none(f"{bad} of {len(values)} predictions of {name} are not finite")
    if measured.needs_days and sample.unit != "day":
        return none(f"{metric} needs dated rows, and the unit of evidence is the {sample.unit}")
    if not len(sample.labels):
        return none("there are no rows to compare on")
    units, mine = measured.per_day(sample.labels, challenger, sample.codes)
    theirs = measured.per_day(sample.labels, other, sample.codes)[1]
    if len(units) < min_units:
        why = f"{len(units)} {sample.unit}s to compare on, {min_units} are needed (gate.min_days)"
        if left_out := sample.clusters - len(units):
            why += (
                f"; {left_out} have rows of one class only, for which there is no {metric} "
                "(with few rows a day, set gate.metric: log_loss)"
            )
        return none(why)
    sign = 1.0 if measured.higher_is_better else -1.0
    try:
        test = paired_difference(
            sign * (mine - theirs),
            null=null * sample.task.margin_unit(metric, sample.labels),
            alpha=alpha,
            power=power,
            ordered=sample.unit == "day",
        )
    except ValueError as error:
        return none(str(error))
    return Comparison(
        metric,
        against,
        sample.unit,
        challenger=float(mine.mean()),
        other=float(theirs.mean()),
        test=test,
        left_out=sample.clusters - len(units),
        metric_title=measured.title,
    )
