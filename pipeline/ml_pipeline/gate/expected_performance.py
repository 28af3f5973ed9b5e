"""The performance that the gate expects of a challenger: its metric on the compared rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from ml_pipeline.core import documents
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import Refused
from ml_pipeline.statistics.unit_mean import CONFIDENCE, UnitMean, unit_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.evaluation.holdout import Sample
    from ml_pipeline.evaluation.metric_table import Measured

    Floats = NDArray[np.float64]

NOT_RECORDED = "not recorded"
"""What is shown for a version whose gate record lacks it, as those of earlier versions do."""


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

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.4f}"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def expected_performance(
    metric: str, sample: Sample, predictions: Floats, measured: Measured
) -> ExpectedPerformance | None:
    """Return what a metric's row of the table and the sample's units say; None without a value."""
    if measured.value is None:
        return None
    spread = _spread(metric, sample, predictions)
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
    )


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
