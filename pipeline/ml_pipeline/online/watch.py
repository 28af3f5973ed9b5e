"""Whether what production has answered since a promotion lies within its limits.

As in a shadow, limits hold for the requests that were seen; they are no test of hypotheses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import WatchSection
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.online.metrics_scraper import Buckets, Seen
from ml_pipeline.statistics.drift import stability_of_counts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

OTHER_REQUESTS = frozenset({401, 403, 404, 405})
"""No permission, or no request for predictions: they say nothing of the model."""
OVERLOADED = 429
FAULT = 500
REQUESTS = "live requests"


def judge(
    seen: Seen, section: WatchSection, reference: Floats | None
) -> tuple[list[Check], dict[str, Any]]:
    """Return a check for each limit, and the figures.

    Below ``min_requests`` the limits are skipped, and the check of their number is inconclusive.
    It is advisory: low traffic is not a model failure. So is the share of refused requests (every
    other 4xx): any client can cause them, so they neither count against a version nor among the
    requests by which it is judged. A figure that is missing or not finite passes no limit.

    Args:
        seen: what was answered.
        section: the limits.
        reference: the model's answers [n] to rows of its training; None where they are not known.
    """
    answered = {status: n for status, n in seen.statuses.items() if status not in OTHER_REQUESTS}
    errors = {s: n for s, n in answered.items() if s >= FAULT or s == OVERLOADED}
    refused = {s: n for s, n in answered.items() if 400 <= s < FAULT and s != OVERLOADED}
    received = sum(answered.values())
    total = received - sum(refused.values())
    figures = {
        "errors": _share(errors, total),
        "refused": _share(refused, received),
        "p99_ms": 1000 * quantile(seen.seconds, 0.99),
        "psi": shift(reference, seen.predictions),
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
        _limit("errors", figures["errors"], section.error_rate, "{:.2%}", _kinds(errors)),
        _limit(
            "refused requests",
            figures["refused"],
            section.refused_rate,
            "{:.2%}",
            _kinds(refused),
            required=False,
        ),
        _limit("latency", figures["p99_ms"], section.p99_ms, "p99 {:.1f} ms"),
        _limit(
            "prediction distribution",
            figures["psi"],
            section.psi,
            "PSI {:.3f}",
            "" if reference is not None else "the bundle's reference.parquet cannot be read",
        ),
    ]
    if not enough:
        limits = [check.model_copy(update={"verdict": Verdict.SKIPPED}) for check in limits]
    metrics = {
        "requests": int(total),
        "rows": int(sum(seen.predictions.values())),
        "instances": seen.instances,
        "statuses": {str(status): int(n) for status, n in seen.statuses.items()},
    }
    return [number, *limits], metrics | figures


def quantile(buckets: Buckets, q: float) -> float:
    """Return the ``q`` quantile of a histogram; NaN where it is empty.

    As PromQL's ``histogram_quantile`` does (prometheus.io/docs/prometheus/latest/querying/
    functions): values are spread evenly within a bucket, the lowest one begins at 0, and what lies
    in the bucket without an upper bound counts as the largest bound there is.
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


def shift(reference: Floats | None, answers: Buckets) -> float:
    """Return the population stability index of ``answers`` beside ``reference`` [n].

    NaN where one of them is empty or holds what is not finite.
    """
    import numpy as np

    if reference is None or len(answers) < 2:
        return math.nan
    bounds = np.array(list(answers), dtype=np.float64)
    values = np.asarray(reference, dtype=np.float64)
    if not np.isfinite(values).all():
        return math.nan
    expected = np.bincount(np.searchsorted(bounds[:-1], values), minlength=len(bounds))
    try:
        return stability_of_counts(
            expected.astype(np.float64), np.array(list(answers.values()), dtype=np.float64)
        )
    except ValueError:
        return math.nan


def broken(checks: Sequence[Check]) -> list[Check]:
    """Return the limits that do not hold."""
    return [check for check in checks if check.required and check.verdict is Verdict.FAIL]


def _limit(
    name: str, value: float, limit: float, form: str, why: str = "", *, required: bool = True
) -> Check:
    if math.isfinite(value):
        verdict = Verdict.PASS if value <= limit else Verdict.FAIL
    else:
        verdict, why = Verdict.INCONCLUSIVE, why or "there is nothing to measure it by"
    return Check(
        name=name,
        verdict=verdict,
        required=required,
        observed=shown(value, form),
        expected=f"at most {form.format(limit)}",
        why=why,
    )


def shown(value: float, form: str) -> str:
    """Return the value in a form, or that it is not known."""
    return form.format(value) if math.isfinite(value) else "unknown"


def _share(some: Mapping[int, float], total: float) -> float:
    return sum(some.values()) / total if total > 0 else math.nan


def _kinds(statuses: Mapping[int, float]) -> str:
    return ", ".join(f"status {status}: {int(count)}" for status, count in statuses.items())
