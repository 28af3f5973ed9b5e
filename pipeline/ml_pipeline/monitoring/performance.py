"""Performance in production: estimated before labels, realised with them, beside the expected."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ml_pipeline.evaluation import estimated_performance as estimates
from ml_pipeline.statistics.paired_test import PairedTest, paired_difference
from ml_pipeline.statistics.unit_mean import (
    CONFIDENCE,
    ReferenceMean,
    probability_of_gap,
    unit_mean,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.evaluation.holdout import Sample
    from ml_pipeline.gate.expected_performance import ExpectedPerformance, GroupPerformance
    from ml_pipeline.monitoring.labelled_rows import LabelledRows
    from ml_pipeline.tasks.base import Task
    from ml_pipeline.tasks.metrics import Metric

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

NO_EXPECTATION = (
    "the gate's record of the version has no expected performance (it is of an earlier ml-pipeline)"
)


@dataclass(frozen=True)
class Performance:
    """A metric in production with its interval, or why there is none.

    Attributes:
        metric: its name.
        value: over all rows.
        low: end of the interval, by days.
        high: the other end.
        rows: how many.
        days: how many.
        since: the first day.
        until: the last day.
        std_error: of the value, allowing for autocorrelated days.
        degrees: those of Student's t that belong to it.
        p_value: for "worse than expected", one-sided; None where that cannot be tested.
        why: what is missing.
    """

    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int = 0
    days: int = 0
    since: str | None = None
    until: str | None = None
    std_error: float | None = None
    degrees: float | None = None
    p_value: float | None = None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"confidence": CONFIDENCE, **asdict(self)}

    def __str__(self) -> str:
        if self.value is None:
            return self.why
        if self.low is None or self.high is None:
            return f"{self.value:.4f}"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def realised(
    rows: LabelledRows, task: Task, metric: str, expected: ExpectedPerformance | None
) -> Performance:
    """Return the metric of a version's labelled rows, compared with what its gate expected.

    The interval rests on days, and allows for autocorrelation as the gate's test does.
    """
    found = _measured(rows, task, metric)
    if found.value is None:
        return found
    if expected is None or expected.metric != metric:
        return replace(found, why=NO_EXPECTATION)
    if expected.std_error is None or expected.degrees is None:
        return replace(found, why="the expected performance has no standard error")
    known = ReferenceMean(
        expected.value, expected.std_error, expected.degrees, expected.units, expected.rows
    )
    return _compared(found, task, known, expected.unit)


def realised_by_group(
    rows: LabelledRows, task: Task, metric: str, expected: ExpectedPerformance | None
) -> dict[str, Performance]:
    """Return the same for each value of each grouping feature, by ``FEATURE = VALUE``.

    A group's p-value compares it with the same group on the rows of the gate.
    """
    import numpy as np

    found = {}
    for feature, values in sorted(rows.groups.items()):
        known: Mapping[str, GroupPerformance] = (
            {}
            if expected is None or expected.metric != metric
            else expected.groups.get(feature, {})
        )
        for value in sorted({value for value in values if value is not None}):
            part = rows.chosen(np.array([one == value for one in values], dtype=bool))
            measured = _measured(part, task, metric)
            gate = known.get(value)
            if measured.value is None:
                found[f"{feature} = {value}"] = measured
            elif expected is None or gate is None or gate.std_error is None or gate.degrees is None:
                why = "the gate's record has no expected performance of this group"
                found[f"{feature} = {value}"] = replace(measured, why=why)
            else:
                reference = ReferenceMean(
                    gate.value, gate.std_error, gate.degrees, gate.units, gate.rows
                )
                found[f"{feature} = {value}"] = _compared(measured, task, reference, expected.unit)
    return found


def estimated(
    predictions: Floats,
    days: Integers,
    task: Task,
    metric: str,
    expected: ExpectedPerformance | None = None,
) -> Performance:
    """Return the metric that the predictions alone let expect: before labels come.

    It is corrected by what the gate measured of its calibration, and its interval contains that
    uncertainty; without a record of it both are left out, which ``why`` says.

    Args:
        predictions: [n] or [n, k].
        days: of the requests, in days since 1970-01-01 [n].
        task: of the predictions.
        metric: by name.
        expected: of the version's gate record.
    """
    import numpy as np

    measured = task.metrics[metric]
    if why := estimates.why_not(measured, task):
        return Performance(metric, rows=len(predictions), why=why)
    if not len(predictions):
        return Performance(metric, why="there are no rows")
    names, codes = np.unique(days, return_inverse=True)
    found = estimates.estimate(measured, task, predictions, codes.astype(np.int64), len(names))
    if found is None:
        return Performance(metric, rows=len(predictions), why="these rows do not define it")
    shape = Performance(
        metric,
        rows=len(predictions),
        days=len(names),
        since=str(np.datetime64(int(names[0]), "D")),
        until=str(np.datetime64(int(names[-1]), "D")),
    )
    known = expected.calibration if expected is not None and expected.metric == metric else None
    if known is None:
        why = f"{estimates.SEES}; the uncertainty of calibration is left out: it is not recorded"
        return replace(shape, value=found.value, low=found.low, high=found.high, why=why)
    value = found.value + known.bias
    below, above = found.value - found.low, found.high - found.value
    wide = _quantile(known.degrees) * known.std_error
    return replace(
        shape,
        value=value,
        low=value - (below**2 + wide**2) ** 0.5,
        high=value + (above**2 + wide**2) ** 0.5,
        why=f"{estimates.SEES}; calibration as the gate measured it",
    )


def is_as_expected(
    metric: Metric, found: Performance, expected: ExpectedPerformance | None
) -> bool | None:
    """Return whether performance was not worse than expected; None where that is not known.

    It was worse where its whole interval lies on the bad side of the expected one.
    """
    if expected is None or expected.low is None or expected.high is None:
        return None
    if expected.metric != metric.name or found.low is None or found.high is None:
        return None
    if metric.higher_is_better:
        return found.high >= expected.low
    return found.low <= expected.high


def against_other(
    rows: LabelledRows, task: Task, metric: str, digest: str
) -> tuple[Performance, Performance, PairedTest | None]:
    """Compare another version with the one that served, on the rows that both predicted.

    Returns:
        The performance of the other version, that of the version that served, and the test of
        the difference per day: above 0 where the other version is better. None for the test where
        days do not suffice, which the first performance then says.
    """
    import numpy as np

    theirs = rows.others[digest]
    finite = np.isfinite(theirs.reshape(len(theirs), -1)).all(axis=1)
    both: NDArray[np.bool_] = np.asarray(finite, dtype=bool)
    part = rows.chosen(both)
    served, measured = part.sample(task), task.metrics[metric]
    other = _of(part.others[digest], served, metric)
    mine = _of(part.predictions, served, metric)
    units, one = measured.per_day(served.labels, part.others[digest], served.codes)
    _, two = measured.per_day(served.labels, part.predictions, served.codes)
    sign = 1.0 if measured.higher_is_better else -1.0
    try:
        test = paired_difference(sign * (one - two)) if len(units) else None
    except ValueError as error:
        return replace(other, why=str(error)), mine, None
    return other, mine, test


def _measured(rows: LabelledRows, task: Task, metric: str) -> Performance:
    return _of(rows.predictions, rows.sample(task), metric)


def _of(predictions: Floats, sample: Sample, metric: str) -> Performance:
    """Return a metric of predictions on a sample, with the interval by days."""
    if not len(sample.labels):
        return Performance(metric, why="no label has come")
    measured = sample.task.metrics[metric]
    shape = Performance(
        metric,
        rows=len(sample.labels),
        days=sample.clusters,
        since=sample.names[0],
        until=sample.names[-1],
    )
    if why := sample.task.undefined(measured, sample.labels, sample.codes, sample.clusters):
        return replace(shape, why=why)
    value = measured.value(sample.labels, predictions, sample.codes)
    sums, weights = measured.unit_sums(sample.labels, predictions, sample.codes, sample.clusters)
    try:
        spread = unit_mean(sums, weights)
    except ValueError as error:
        return replace(shape, value=value, why=str(error))
    return replace(
        shape,
        value=value,
        low=spread.low,
        high=spread.high,
        std_error=spread.std_error,
        degrees=spread.degrees,
    )


def _compared(found: Performance, task: Task, reference: ReferenceMean, unit: str) -> Performance:
    """Return a performance with its p-value for "worse than expected".

    Where the gate's units are not days, it does not know how much days differ: the days of
    production have to show it.
    """
    assert found.value is not None
    sign = -1.0 if task.metrics[found.metric].higher_is_better else 1.0
    gap = sign * (found.value - reference.value)
    if unit != "day":
        if found.std_error is None or found.degrees is None:
            return found
        reference = replace(reference, degrees=min(reference.degrees, found.degrees))
    try:
        p_value = probability_of_gap(
            gap,
            reference,
            units=found.days if unit == "day" else found.rows,
            rows=found.rows,
            std_error=found.std_error or 0.0,
        )
    except ValueError as error:
        return replace(found, why=str(error))
    return replace(found, p_value=p_value, why="")


def _quantile(degrees: float) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees))
