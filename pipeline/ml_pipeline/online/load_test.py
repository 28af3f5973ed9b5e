"""Measurements of a load test, and the checks against the service level."""

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

MIN_REQUESTS = 100
"""Minimum number of requests; with fewer, the 99th percentile is the maximum."""
MIN_THROUGHPUT_SHARE = 0.95
"""Minimum throughput, as a share of the rate."""
MAX_CLIENT_DELAY_SHARE = 0.5
"""Maximum delay of the client, as a share of the latency limit."""


@dataclass(frozen=True)
class LoadMeasurements:
    """Counts and times after the warm-up; latencies in milliseconds, from the scheduled moment."""

    requests: int
    errors: int
    first_error: str
    throughput: float
    """Successful responses per second, up to the last response."""
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


def after_warmup(answers: Sequence[TimedResponse], warmup: float) -> list[TimedResponse]:
    """Return the responses that were due after the warm-up."""
    return [answer for answer in answers if answer.due >= warmup]


def measure(
    answers: Sequence[TimedResponse], *, warmup: float, version: int | None, task: Task = BINARY
) -> LoadMeasurements:
    """Measure the responses after ``warmup`` seconds.

    Percentiles are of all requests, those that failed included.

    Args:
        answers: in the order of their schedule.
        warmup: seconds that are not measured.
        version: the expected version.
        task: of the model.
    """
    import numpy as np

    counted = after_warmup(answers, warmup)
    replies = [parse_response(answer, version, task) for answer in counted]
    failures = [measured.error for measured in replies if measured.error]
    end = max((answer.done for answer in counted), default=warmup)
    latency = np.array([answer.latency for answer in counted], dtype=np.float64) * 1000
    lag = np.array([answer.lag for answer in counted], dtype=np.float64) * 1000
    return LoadMeasurements(
        requests=len(counted),
        errors=len(failures),
        first_error=failures[0] if failures else "",
        throughput=(len(counted) - len(failures)) / max(end - warmup, 1e-9),
        lag_p99=percentile(lag, 99),
        p50=percentile(latency, 50),
        p95=percentile(latency, 95),
        p99=percentile(latency, 99),
        max=percentile(latency, 100),
    )


def percentile(values: NDArray[np.float64], share: float) -> float:
    """Return the smallest observed value that ``share`` per cent do not exceed; NaN if empty."""
    import numpy as np

    if not len(values):
        return math.nan
    return float(np.percentile(values, share, method="inverted_cdf"))


def checks(measured: LoadMeasurements, section: LoadTestSection) -> list[Check]:
    """Return a check for each limit; inconclusive if the client was late or sent too little."""
    allowed = MAX_CLIENT_DELAY_SHARE * section.p99_ms
    on_schedule = measured.lag_p99 <= allowed
    enough = measured.requests >= MIN_REQUESTS
    conclusive = on_schedule and enough
    inconclusive_why = "the client could not keep its rate" if enough else "too few requests"
    client = Check(
        name="the client kept its rate",
        verdict=Verdict.PASS if conclusive else Verdict.INCONCLUSIVE,
        observed=f"{measured.requests} requests, "
        f"99 % of them sent within {measured.lag_p99:.1f} ms",
        expected=f"at least {MIN_REQUESTS} requests, each sent at most {allowed:g} ms late",
        why=""
        if conclusive
        else f"{inconclusive_why}: run a longer test, lower the rate or use an idle machine",
    )
    errors = Check(
        name="errors",
        verdict=_within(measured.error_rate, section.error_rate),
        observed=f"{measured.errors} of {measured.requests}",
        expected=f"at most {section.error_rate:.2%}",
        why=f"first: {measured.first_error}" if measured.errors else "",
    )
    latency = Check(
        name="latency",
        verdict=_within(measured.p99, section.p99_ms) if conclusive else Verdict.INCONCLUSIVE,
        observed=f"p50 {measured.p50:.1f}, p95 {measured.p95:.1f}, p99 {measured.p99:.1f}, "
        f"max {measured.max:.1f} ms",
        expected=f"p99 at most {section.p99_ms:g} ms at {section.rate:g} requests/s",
        why="" if conclusive else inconclusive_why,
    )
    min_throughput = MIN_THROUGHPUT_SHARE * section.rate
    throughput = Check(
        name="throughput",
        verdict=_within(min_throughput, measured.throughput)
        if conclusive
        else Verdict.INCONCLUSIVE,
        observed=f"{measured.throughput:.1f} right answers/s",
        expected=f"at least {min_throughput:g}",
        why="" if conclusive else inconclusive_why,
    )
    limits = [client, errors, latency, throughput]
    return [check.model_copy(update={"required": section.required}) for check in limits]


def _within(value: float, limit: float) -> Verdict:
    if not math.isfinite(value) or not math.isfinite(limit):
        return Verdict.INCONCLUSIVE
    return Verdict.PASS if value <= limit else Verdict.FAIL


def summarize(measured: LoadMeasurements, limits: list[Check], rate: float) -> str:
    """Return a summary: the first failed or inconclusive limit, and the figures."""
    figures = (
        f"{rate:g} requests/s for {measured.requests / rate:.0f} s: "
        f"p50 {measured.p50:.1f}, p95 {measured.p95:.1f}, "
        f"p99 {measured.p99:.1f}, max {measured.max:.1f} ms, {measured.errors} errors"
    )
    not_passed = [check for check in limits if check.verdict.blocks]
    worst = next((check for check in not_passed if check.verdict is Verdict.FAIL), None)
    if worst is not None:
        return f"{worst.name}: {worst.shown}, expected {worst.expected}; {figures}"
    return f"inconclusive: {not_passed[0].why}; {figures}" if not_passed else figures
