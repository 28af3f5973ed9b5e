"""What a load test measured, and whether it keeps the service level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import LoadTestSection
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.traffic.open_loop import TimedResponse
from ml_pipeline.traffic.prediction_requests import parse_response

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.tasks.base import Task

LEAST = 100
"""Requests under which a 99th percentile is no more than the largest."""
THROUGHPUT = 0.95
"""Share of the rate that has to be answered."""
MAX_CLIENT_DELAY_SHARE = 0.5
"""Share of the latency's limit that the client's own delay may take."""


@dataclass(frozen=True)
class Load:
    """Counts and times after the warm-up; latencies in milliseconds, from the scheduled moment."""

    requests: int
    errors: int
    first_error: str
    throughput: float
    """Right answers a second, to the last answer."""
    lag_p99: float
    """The client's own delay."""
    p50: float
    p95: float
    p99: float
    max: float

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else math.nan

    def to_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "errors": self.errors,
            "error_rate": self.error_rate,
            "throughput": self.throughput,
            "client_lag_p99_ms": self.lag_p99,
            "latency_ms": {"p50": self.p50, "p95": self.p95, "p99": self.p99, "max": self.max},
        }


def measured(answers: Sequence[TimedResponse], warmup: float) -> list[TimedResponse]:
    """Return the answers that were due after the warm-up."""
    return [answer for answer in answers if answer.due >= warmup]


def measure(
    answers: Sequence[TimedResponse], *, warmup: float, version: int | None, task: Task = BINARY
) -> Load:
    """Return what the answers after ``warmup`` seconds show.

    Percentiles are of all requests, those that failed included.

    Args:
        answers: in the order of their schedule.
        warmup: seconds that do not count.
        version: that has to answer.
        task: of the model that answers.
    """
    import numpy as np

    counted = measured(answers, warmup)
    replies = [parse_response(answer, version, task) for answer in counted]
    wrong = [found.error for found in replies if found.error]
    ended = max((answer.done for answer in counted), default=warmup)
    latency = np.array([answer.latency for answer in counted], dtype=np.float64) * 1000
    lag = np.array([answer.lag for answer in counted], dtype=np.float64) * 1000
    return Load(
        requests=len(counted),
        errors=len(wrong),
        first_error=wrong[0] if wrong else "",
        throughput=(len(counted) - len(wrong)) / max(ended - warmup, 1e-9),
        lag_p99=percentile(lag, 99),
        p50=percentile(latency, 50),
        p95=percentile(latency, 95),
        p99=percentile(latency, 99),
        max=percentile(latency, 100),
    )


def percentile(values: NDArray[np.float64], share: float) -> float:
    """Return the smallest observed value that ``share`` per cent do not exceed; NaN of none."""
    import numpy as np

    if not len(values):
        return math.nan
    return float(np.percentile(values, share, method="inverted_cdf"))


def checks(found: Load, section: LoadTestSection) -> list[Check]:
    """Return a check for each clause; what the client spoiled is inconclusive, not a pass."""
    allowed = MAX_CLIENT_DELAY_SHARE * section.p99_ms
    kept = found.lag_p99 <= allowed
    enough = found.requests >= LEAST
    known = kept and enough
    spoiled = "the client could not keep its rate" if enough else "too few requests"
    client = Check(
        name="the client kept its rate",
        verdict=Verdict.PASS if known else Verdict.INCONCLUSIVE,
        observed=f"{found.requests} requests, 99 % of them sent within {found.lag_p99:.1f} ms",
        expected=f"at least {LEAST} requests, each sent within {allowed:g} ms of its moment",
        why="" if known else f"{spoiled}: a longer test, a lower rate or an idler machine tells",
    )
    errors = Check(
        name="errors",
        verdict=_within(found.error_rate, section.error_rate),
        observed=f"{found.errors} of {found.requests}",
        expected=f"at most {section.error_rate:.2%}",
        why=f"first: {found.first_error}" if found.errors else "",
    )
    latency = Check(
        name="latency",
        verdict=_within(found.p99, section.p99_ms) if known else Verdict.INCONCLUSIVE,
        observed=f"p50 {found.p50:.1f}, p95 {found.p95:.1f}, p99 {found.p99:.1f}, "
        f"max {found.max:.1f} ms",
        expected=f"p99 at most {section.p99_ms:g} ms at {section.rate:g} requests/s",
        why="" if known else spoiled,
    )
    least = THROUGHPUT * section.rate
    throughput = Check(
        name="throughput",
        verdict=_within(least, found.throughput) if known else Verdict.INCONCLUSIVE,
        observed=f"{found.throughput:.1f} right answers/s",
        expected=f"at least {least:g}",
        why="" if known else spoiled,
    )
    limits = [client, errors, latency, throughput]
    return [check.model_copy(update={"required": section.required}) for check in limits]


def _within(value: float, limit: float) -> Verdict:
    if not math.isfinite(value) or not math.isfinite(limit):
        return Verdict.INCONCLUSIVE
    return Verdict.PASS if value <= limit else Verdict.FAIL


def summarize(found: Load, limits: list[Check], rate: float) -> str:
    """Return a line with the first limit that is broken or undecided, and the figures."""
    figures = (
        f"{rate:g} requests/s for {found.requests / rate:.0f} s: "
        f"p50 {found.p50:.1f}, p95 {found.p95:.1f}, p99 {found.p99:.1f}, max {found.max:.1f} ms, "
        f"{found.errors} errors"
    )
    not_passed = [check for check in limits if check.verdict.blocks]
    worst = next((check for check in not_passed if check.verdict is Verdict.FAIL), None)
    if worst is not None:
        return f"{worst.name}: {worst.shown}, expected {worst.expected}; {figures}"
    return f"inconclusive: {not_passed[0].why}; {figures}" if not_passed else figures
