"""Checks production's responses since a promotion against the limits of the watch.

Limits apply to the observed requests. Only the distribution of predictions is a hypothesis test
too: a version is rolled back if it is beyond its limit and chance does not explain it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import WatchSection
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.online.metrics_scraper import Buckets, MetricTotals
from ml_pipeline.statistics.histograms import HistogramComparison, compare_histograms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

OTHER_REQUESTS = frozenset({401, 403, 404, 405})
"""Unauthorized, or not a request for predictions: unrelated to the model."""
OVERLOADED = 429
FAULT = 500
REQUESTS = "live requests"
WRONG_ROLLBACKS = 0.01
"""Share of watches of unchanged distributions that may find a distribution significant."""


@dataclass(frozen=True)
class ReferencePredictions:
    """A model's predictions for rows that it was not fitted to."""

    histogram_values: Floats
    """What the histogram counts of each [n]."""
    units: Ints | None = None
    """The day of each row; None where it is unknown."""


def judge(
    totals: MetricTotals, section: WatchSection, reference: ReferencePredictions | None
) -> tuple[list[Check], dict[str, Any]]:
    """Return a check for each limit, and the figures.

    Below ``min_requests`` the limits are skipped, and the check of their number is inconclusive.
    That check is advisory: low traffic is not a model failure. The share of refused requests (every
    other 4xx) is advisory too: any client can cause them, so they count neither against a version
    nor among the requests that judge it. A missing or non-finite figure is inconclusive.

    Args:
        totals: counts of the servers.
        section: the limits.
        reference: the model's predictions for reference rows; None if unknown.
    """
    answered = {status: n for status, n in totals.statuses.items() if status not in OTHER_REQUESTS}
    errors = {s: n for s, n in answered.items() if s >= FAULT or s == OVERLOADED}
    refused = {s: n for s, n in answered.items() if 400 <= s < FAULT and s != OVERLOADED}
    received = sum(answered.values())
    total = received - sum(refused.values())
    compared = compare(reference, totals.predictions)
    figures = {
        "errors": _share(errors, total),
        "refused": _share(refused, received),
        "p99_ms": 1000 * quantile(totals.seconds, 0.99),
        "distance": compared.distance,
        "p_value": compared.p_value,
    }
    enough = total >= section.min_requests
    number = Check(
        name=REQUESTS,
        verdict=Verdict.PASS if enough else Verdict.INCONCLUSIVE,
        required=enough,
        observed=int(total),
        expected=f"at least {section.min_requests}",
        why="" if enough else f"{int(total)} live requests are too few to judge",
    )
    limits = [
        _limit("errors", figures["errors"], section.error_rate, "{:.2%}", _status_counts(errors)),
        _limit(
            "refused requests",
            figures["refused"],
            section.refused_rate,
            "{:.2%}",
            _status_counts(refused),
            required=False,
        ),
        _limit("latency", figures["p99_ms"], section.p99_ms, "p99 {:.1f} ms"),
        _distribution(compared, total, section, reference),
    ]
    if not enough:
        limits = [check.model_copy(update={"verdict": Verdict.SKIPPED}) for check in limits]
    metrics = {
        "requests": int(total),
        "rows": int(sum(totals.predictions.values())),
        "instances": totals.instances,
        "statuses": {str(status): int(n) for status, n in totals.statuses.items()},
    }
    return [number, *limits], metrics | figures


def quantile(buckets: Buckets, q: float) -> float:
    """Return the ``q`` quantile of a histogram; NaN if it is empty.

    As PromQL's ``histogram_quantile`` does (prometheus.io/docs/prometheus/latest/querying/
    functions): values are spread evenly within a bucket, the lowest one begins at 0, and
    values in the bucket without an upper bound count as the largest bound.
    """
    total = sum(buckets.values())
    if not total > 0 or len(buckets) < 2:
        return math.nan
    rank, below, lower = q * total, 0.0, 0.0
    for bound, count in buckets.items():
        if below + count >= rank and count > 0:
            return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / count
        below, lower = below + count, bound
    return math.nan


def compare(reference: ReferencePredictions | None, answers: Buckets) -> HistogramComparison:
    """Return how far ``answers`` lie from the reference; NaN if one is empty or not finite."""
    import numpy as np

    unknown = HistogramComparison(math.nan, math.nan)
    if reference is None or len(answers) < 2:
        return unknown
    bounds = np.array(list(answers), dtype=np.float64)
    values = np.asarray(reference.histogram_values, dtype=np.float64)
    if not np.isfinite(values).all():
        return unknown
    try:
        return compare_histograms(
            np.searchsorted(bounds[:-1], values),
            np.array(list(answers.values()), dtype=np.float64),
            units=reference.units,
        )
    except ValueError:
        return unknown


def significance(requests: float, section: WatchSection) -> float:
    """Return the level of a look at so many requests.

    A watch looks every second, so its looks share ``WRONG_ROLLBACKS``: 1 / (k (k + 1)) of it is for
    the looks between 2^(k - 1) and 2^k times ``min_requests``, and the mean over such a stretch is
    above a limit with at most twice the probability that it has at the end (Levy's inequality).
    """
    k = 1 + max(0, math.floor(math.log2(max(requests, 1) / section.min_requests)))
    return WRONG_ROLLBACKS / (2 * k * (k + 1))


def _distribution(
    compared: HistogramComparison,
    requests: float,
    section: WatchSection,
    reference: ReferencePredictions | None,
) -> Check:
    """Return the check of the predictions: beyond the limit it fails unless chance explains it."""
    why = "" if reference is not None else "the bundle's reference.parquet cannot be read"
    check = _limit(
        "prediction distribution", compared.distance, section.distance, "distance {:.3f}", why
    )
    if check.verdict is Verdict.FAIL and compared.p_value > significance(requests, section):
        why = f"more, but chance explains it with so few answers (p {compared.p_value:.2g})"
        return check.model_copy(update={"verdict": Verdict.PASS, "why": why})
    return check


def broken_limits(checks: Sequence[Check]) -> list[Check]:
    """Return the failed required checks."""
    return [check for check in checks if check.required and check.verdict is Verdict.FAIL]


def _limit(
    name: str, value: float, limit: float, form: str, why: str = "", *, required: bool = True
) -> Check:
    if math.isfinite(value):
        verdict = Verdict.PASS if value <= limit else Verdict.FAIL
    else:
        verdict, why = Verdict.INCONCLUSIVE, why or "no data to measure it"
    return Check(
        name=name,
        verdict=verdict,
        required=required,
        observed=format_figure(value, form),
        expected=f"at most {form.format(limit)}",
        why=why,
    )


def format_figure(value: float, form: str) -> str:
    """Return the formatted value, or ``unknown`` if it is not finite."""
    return form.format(value) if math.isfinite(value) else "unknown"


def _share(some: Mapping[int, float], total: float) -> float:
    return sum(some.values()) / total if total > 0 else math.nan


def _status_counts(statuses: Mapping[int, float]) -> str:
    return ", ".join(f"status {status}: {int(count)}" for status, count in statuses.items())
