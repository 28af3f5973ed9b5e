"""The performance that the gate expects of a challenger: its metric on the compared rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from ml_pipeline.core import documents
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import Refused
from ml_pipeline.evaluation.estimated_performance import Calibration, calibration
from ml_pipeline.statistics.unit_mean import CONFIDENCE, UnitMean, unit_mean

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.evaluation.holdout import Sample
    from ml_pipeline.evaluation.metric_table import Measured

    Floats = NDArray[np.float64]

MAX_GROUPS = 100
"""Values of a feature, at most, that are groups of their own."""
NOT_RECORDED = "not recorded"
"""What is shown for a version whose gate record lacks it, as those of earlier versions do."""


@dataclass(frozen=True)
class GroupPerformance:
    """The metric on the rows that have one value of a categorical feature."""

    value: float
    std_error: float | None
    degrees: float | None
    units: int
    rows: int


@dataclass(frozen=True)
class ExpectedPerformance:
    """The primary metric of a challenger on the rows of the gate's comparison.

    Attributes:
        metric: its name.
        value: over all rows.
        low: end of its interval, by resampling of units; None where there is a single unit.
        high: the other end.
        confidence: level of the interval.
        unit: ``day``, ``cluster`` or ``row``.
        units: how many there are.
        rows: how many there are.
        std_error: of the value, allowing for autocorrelated days; None where there is no variance.
        degrees: those of Student's t that belong to it.
        calibration: how far the metric lies from what the predictions alone let expect.
        groups: by feature and value, for each of ``monitor.group_by``.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    confidence: float
    unit: str
    units: int
    rows: int
    std_error: float | None = None
    degrees: float | None = None
    calibration: Calibration | None = None
    groups: Mapping[str, Mapping[str, GroupPerformance]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.4f}"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def expected_performance(
    metric: str,
    sample: Sample,
    predictions: Floats,
    measured: Measured,
    features: pd.DataFrame | None = None,
    group_by: Sequence[str] = (),
) -> ExpectedPerformance | None:
    """Return what a metric's row of the table and the sample's units say; None without a value.

    Args:
        metric: one that has a value for a single unit.
        sample: labels and units of the rows.
        predictions: the challenger's for them.
        measured: the metric's value and interval.
        features: of the rows, in the sample's order.
        group_by: those whose values are groups; features that the rows lack are left out.
    """
    if measured.value is None:
        return None
    spread = _spread(metric, sample, predictions)
    groups = {
        name: performance_by_group(metric, sample, predictions, features[name].tolist())
        for name in group_by
        if features is not None and name in features.columns
    }
    return ExpectedPerformance(
        metric=metric,
        value=measured.value,
        low=measured.low,
        high=measured.high,
        confidence=CONFIDENCE,
        unit=sample.unit,
        units=sample.clusters,
        rows=len(sample.labels),
        std_error=None if spread is None else spread.std_error,
        degrees=None if spread is None else spread.degrees,
        calibration=calibration(sample.task.metrics[metric], sample, predictions),
        groups=groups,
    )


def performance_by_group(
    metric: str, sample: Sample, predictions: Floats, values: Sequence[Any]
) -> dict[str, GroupPerformance]:
    """Return the metric for the rows of each value; rows without a value are left out.

    Values beyond the ``MAX_GROUPS`` most frequent ones are left out.
    """
    import numpy as np

    column = np.array([value if isinstance(value, str) else None for value in values], dtype=object)
    counts = Counter(value for value in column if value is not None)
    frequent = sorted(counts, key=lambda value: (-counts[value], value))[:MAX_GROUPS]
    found = {}
    for name in sorted(frequent):
        rows = column == name
        part = replace(sample, labels=sample.labels[rows], codes=sample.codes[rows])
        value = sample.task.metrics[metric].value(part.labels, predictions[rows], part.codes)
        if not np.isfinite(value):
            continue
        spread = _spread(metric, part, predictions[rows])
        found[name] = GroupPerformance(
            value,
            None if spread is None else spread.std_error,
            None if spread is None else spread.degrees,
            len(np.unique(part.codes)),
            int(rows.sum()),
        )
    return found


def read_expected(record: bytes | None) -> ExpectedPerformance | None:
    """Return the expected performance in a gate's record; None if there is none in it.

    Raises:
        Refused: the record is not one that a gate wrote.
    """
    if record is None:
        return None
    try:
        values = documents.parse_json(record, "the gate's record")
        metrics = values.get("metrics") if isinstance(values, Mapping) else None
        found = metrics.get("expected") if isinstance(metrics, Mapping) else None
        return None if found is None else TypeAdapter(ExpectedPerformance).validate_python(found)
    except DocumentError as error:
        raise Refused(error.fault, hint="run 'ml-pipeline gate' again") from None
    except ValidationError as error:
        raise Refused(
            f"the gate's record: expected performance: {documents.reason(error)}",
            hint="run 'ml-pipeline gate' again",
        ) from None


def _spread(metric: str, sample: Sample, predictions: Floats) -> UnitMean | None:
    sums, weights = sample.task.metrics[metric].unit_sums(
        sample.labels, predictions, sample.codes, sample.clusters
    )
    try:
        return unit_mean(sums, weights, ordered=sample.unit == "day")
    except ValueError:  # one unit, or no variance: the value stands without an interval
        return None
