"""Compares champion and challenger on the same requests, and checks the differences.

Limits apply to the observed requests; the distance of the distributions counts only where chance
does not explain it. The gate decides whether a model
is better; a shadow checks that its server works and its predictions are plausible.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import ShadowSection
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.online.load_test import percentile
from ml_pipeline.statistics.histograms import compare_histograms, quantile_bins
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.traffic.prediction_requests import PredictionResponse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.tasks.base import Task, Value

    Floats = NDArray[np.float64]

MIN_CHAMPION_ANSWERED = 0.95
"""Minimum share of requests that the champion must have answered for a comparison."""
SIGNIFICANT = 0.01
"""Largest p-value of a distance that counts."""
NO_CHAMPION = "skipped: no champion"


@dataclass(frozen=True)
class Exchange:
    """One request with both responses; ``group`` is empty without groups."""

    id: str
    champion: PredictionResponse
    challenger: PredictionResponse
    group: str = ""


@dataclass(frozen=True)
class Comparison:
    """The checks, required and advisory, and the metrics."""

    checks: tuple[Check, ...]
    metrics: dict[str, Any]


@dataclass(frozen=True)
class _Rows:
    """Predictions [n] or [n, k] for rows that both predicted, with the group of each."""

    champion: Floats
    challenger: Floats
    groups: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.champion)


def compare(
    exchanges: Sequence[Exchange],
    section: ShadowSection,
    *,
    dropped: int = 0,
    minutes: float | None = None,
    task: Task = BINARY,
) -> Comparison:
    """Compare the predictions of champion and challenger by request.

    Args:
        exchanges: one a request.
        section: the limits.
        dropped: requests that could not be copied; they count as missing responses.
        minutes: how long requests were copied; None for a replay.
        task: of both models.
    """
    usable = [_check_row_count(one) for one in exchanges if not one.champion.error]
    rows = _rows(usable)
    checks = [
        *_sufficiency_checks(exchanges, usable, rows, section, minutes),
        *_service_checks(usable, section, dropped, compare_latency=True),
        *_prediction_checks(rows, section, task),
    ]
    metrics = _metrics(exchanges, usable, rows, dropped) | _distances(rows, section, task)
    return Comparison(tuple(_apply_required(checks, section)), metrics)


def against_trained(
    exchanges: Sequence[Exchange], section: ShadowSection, task: Task = BINARY
) -> Comparison:
    """Compare with the trained model's predictions, if there is no champion.

    Args:
        exchanges: ``champion`` is the trained model's prediction.
        section: the limits.
        task: of the model.
    """
    import numpy as np

    exchanges = [_check_row_count(one) for one in exchanges]
    rows = _rows(exchanges)
    largest = float(np.abs(rows.champion - rows.challenger).max()) if len(rows) else math.nan
    checks = [
        *_sufficiency_checks(exchanges, exchanges, rows, section, None),
        *_service_checks(exchanges, section, 0, compare_latency=False),
        Check(
            name=f"trained {'probabilities' if task.name == BINARY.name else 'predictions'}",
            verdict=_within(largest, task.tolerance),
            observed=largest,
            expected=f"at most {task.tolerance:g} from the trained model",
            why=""
            if largest <= task.tolerance
            else "its predictions differ from the trained model's",
        ),
        *(
            Check(name=name, verdict=Verdict.SKIPPED, why=NO_CHAMPION)
            for name in ("distance", "changed decisions", "extreme disagreements")
        ),
    ]
    metrics = _metrics(exchanges, exchanges, rows, 0) | {"largest_difference": largest}
    return Comparison(tuple(_apply_required(checks, section)), metrics)


def _check_row_count(exchange: Exchange) -> Exchange:
    """Treat a response with another number of rows than sent as an error."""
    sent, response = len(exchange.champion.predictions), exchange.challenger
    if response.error or len(response.predictions) == sent:
        return exchange
    wrong = PredictionResponse(
        ms=response.ms, error=f"{len(response.predictions)} answers to {sent} rows"
    )
    return replace(exchange, challenger=wrong)


LIMITS = {
    "errors": "errors",
    "missing answers": "missing",
    "latency": "latency",
    "distance": "distance",
    "changed decisions": "changed",
    "extreme disagreements": "extreme",
    "groups": "groups",
}
"""Name of each check in ``shadow.advisory``."""


def _apply_required(checks: Iterable[Check], section: ShadowSection) -> list[Check]:
    return [
        check.model_copy(
            update={"required": section.required and LIMITS.get(check.name) not in section.advisory}
        )
        for check in checks
    ]


def _sufficiency_checks(
    exchanges: Sequence[Exchange],
    usable: Sequence[Exchange],
    rows: _Rows,
    section: ShadowSection,
    minutes: float | None,
) -> list[Check]:
    enough = len(rows) >= section.min_requests
    share = len(usable) / len(exchanges) if exchanges else math.nan
    checks = [
        Check(
            name="answers to compare",
            verdict=Verdict.PASS if enough else Verdict.INCONCLUSIVE,
            observed=len(rows),
            expected=f"at least {section.min_requests}",
            why=""
            if enough
            else f"{len(rows)} answers of both are too few to compare: see shadow.min_requests",
        ),
        Check(
            name="the champion answered",
            verdict=Verdict.PASS if share >= MIN_CHAMPION_ANSWERED else Verdict.INCONCLUSIVE,
            observed=f"{len(usable)} of {len(exchanges)}",
            expected=f"at least {MIN_CHAMPION_ANSWERED:.0%} of the requests",
            why=""
            if share >= MIN_CHAMPION_ANSWERED
            else "without its answers there is nothing to compare with",
        ),
    ]
    if minutes is not None:
        long = minutes >= section.min_minutes
        checks.append(
            Check(
                name="time",
                verdict=Verdict.PASS if long else Verdict.INCONCLUSIVE,
                observed=f"{minutes:.1f} minutes",
                expected=f"at least {section.min_minutes:g}",
                why="" if long else f"{minutes:.1f} minutes are too short; judge again later",
            )
        )
    return checks


def _service_checks(
    usable: Sequence[Exchange], section: ShadowSection, dropped: int, *, compare_latency: bool
) -> list[Check]:
    """Return the checks of errors, missing responses and latency."""
    total = len(usable) + dropped
    wrong = [one for one in usable if one.challenger.error and not one.challenger.missing]
    unanswered = [one for one in usable if one.challenger.missing]
    missing = len(unanswered) + dropped
    p99 = _p99(one.challenger for one in usable)
    limit, beside = section.p99_ms, ""
    if compare_latency:
        champion_p99 = _p99(one.champion for one in usable)
        beside = f", the champion's {champion_p99:.1f} ms"
        if math.isfinite(champion_p99):
            limit = max(limit, section.latency_ratio * champion_p99)
    return [
        Check(
            name="errors",
            verdict=_within(_share(len(wrong), total), section.error_rate),
            observed=f"{len(wrong)} of {total}",
            expected=f"at most {section.error_rate:.2%}",
            why=f"first: {wrong[0].challenger.error}" if wrong else "",
        ),
        Check(
            name="missing answers",
            verdict=_within(_share(missing, total), section.missing),
            observed=f"{missing} of {total}" + (f", {dropped} not copied" if dropped else ""),
            expected=f"at most {section.missing:.2%}",
            why=f"first: {unanswered[0].challenger.error}" if unanswered else "",
        ),
        Check(
            name="latency",
            verdict=_within(p99, limit),
            observed=f"p99 {p99:.1f} ms{beside}",
            expected=f"p99 at most {limit:.1f} ms",
            why="" if math.isfinite(p99) else "no request was answered",
        ),
    ]


def _prediction_checks(rows: _Rows, section: ShadowSection, task: Task) -> list[Check]:
    """Return the checks of the predictions; inconclusive without rows."""
    distances = _distances(rows, section, task)
    unit = f" {task.change_unit}" if task.change_unit else ""
    limits = (
        (
            "changed decisions",
            distances["changed"],
            section.changed,
            "changed",
            f"share of decisions at {section.threshold:g} that change"
            if task.name == BINARY.name
            else "share of decisions that change",
        ),
        (
            "extreme disagreements",
            distances["extremes"],
            section.extremes,
            "extremes",
            f"share of answers that differ by {section.extreme:g}{unit} or more",
        ),
    )
    checks = [
        Check(
            name=name,
            verdict=_within(value, limit),
            observed=value,
            expected=f"{what} at most {limit:g}",
            why=f"{what} is {value:.3g}, more than shadow.{key} ({limit:g})"
            + _remedy(f"shadow.{key}", LIMITS[name], section)
            if value > limit
            else "",
        )
        for name, value, limit, key, what in limits
        if value is not None
    ]
    if distances["changed"] is None:
        why = f"no decision follows from the predictions of a {task.title}"
        checks.append(Check(name="changed decisions", verdict=Verdict.SKIPPED, why=why))
    groups = _group_check(distances["groups"], section)
    return [_distance_check(distances, section), *checks, *groups]


def _remedy(key: str, name: str, section: ShadowSection) -> str:
    """Return how to allow an intended change; empty if the limit is advisory."""
    if name in section.advisory:
        return ""
    return f"; if that is intended, raise {key} in ml.yaml, or name '{name}' in shadow.advisory"


def _group_check(groups: dict[str, dict[str, Any]], section: ShadowSection) -> list[Check]:
    if not groups:
        return []
    over = {
        name: values
        for name, values in groups.items()
        if not (
            (values["changed"] is None or values["changed"] <= section.changed)
            and values["extremes"] <= section.extremes
        )
    }
    decided = all(values["changed"] is not None for values in groups.values())
    key = "changed" if decided else "extremes"
    worst = max(groups, key=lambda name: groups[name][key] or 0.0)
    return [
        Check(
            name="groups",
            verdict=Verdict.FAIL if over else Verdict.PASS,
            observed=f"{len(groups)} groups, most changed: {worst}, "
            f"{groups[worst][key]:.1%} of {groups[worst]['rows']:g}",
            expected=f"in each, changed at most {section.changed:g} and extreme at most "
            f"{section.extremes:g}",
            why=f"beyond shadow.changed or shadow.extremes: {', '.join(sorted(over))}"
            + _remedy("the one", "groups", section)
            if over
            else "",
        )
    ]


def _rows(exchanges: Sequence[Exchange]) -> _Rows:
    import numpy as np

    one: list[Value] = []
    other: list[Value] = []
    groups: list[str] = []
    for exchange in exchanges:
        first, second = exchange.champion.predictions, exchange.challenger.predictions
        if second:
            one += first
            other += second
            groups += [exchange.group] * len(first)
    return _Rows(
        np.array(one, dtype=np.float64), np.array(other, dtype=np.float64), np.array(groups, str)
    )


def _distances(rows: _Rows, section: ShadowSection, task: Task) -> dict[str, Any]:
    import numpy as np

    if not len(rows):
        nothing = dict.fromkeys(("distance", "p_value", "changed", "extremes"), math.nan)
        return {**nothing, "groups": {}}
    groups: dict[str, dict[str, Any]] = {}
    for name in np.unique(rows.groups[rows.groups != ""]):
        mask = rows.groups == name
        if mask.sum() >= section.min_group:
            part = _Rows(rows.champion[mask], rows.challenger[mask], rows.groups[mask])
            groups[str(name)] = {"rows": float(mask.sum()), **_shares(part, section, task)}
    return {
        **_distance(rows, task),
        **_shares(rows, section, task),
        "groups": groups,
    }


def _distance(rows: _Rows, task: Task) -> dict[str, float]:
    """Return the total variation distance of the two distributions, and its p-value.

    The two are tested as samples of different rows: that they are of the same ones only makes
    chance smaller.
    """
    import numpy as np

    first, second = map(task.histogram_values, (rows.champion, rows.challenger))
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return {"distance": math.nan, "p_value": math.nan}
    edges = quantile_bins(first)
    counts = np.bincount(np.searchsorted(edges, second), minlength=len(edges) + 1)
    compared = compare_histograms(np.searchsorted(edges, first), counts.astype(np.float64))
    return {"distance": compared.distance, "p_value": compared.p_value}


def _distance_check(distances: dict[str, Any], section: ShadowSection) -> Check:
    value, limit = distances["distance"], section.distance
    verdict, why = _within(value, limit), ""
    if value > limit:
        why = f"{value:.3g} of the answers lie elsewhere, more than shadow.distance ({limit:g})"
        if distances["p_value"] > SIGNIFICANT:
            verdict = Verdict.PASS
            why += f", but chance explains it with so few (p {distances['p_value']:.2g})"
        else:
            why += _remedy("shadow.distance", LIMITS["distance"], section)
    return Check(
        name="distance",
        verdict=verdict,
        observed=value,
        expected=f"total variation distance at most {limit:g}, or as by chance",
        why=why,
    )


def _shares(rows: _Rows, section: ShadowSection, task: Task) -> dict[str, float | None]:
    """Return the shares of changed decisions and extreme disagreements, and the mean change.

    The share of changed decisions is None if the task has no decisions.
    """
    import numpy as np

    change = task.changes(rows.champion, rows.challenger)
    one = task.decisions(rows.champion, section.threshold)
    other = task.decisions(rows.challenger, section.threshold)
    changed = None if one is None or other is None else float((one != other).mean())
    return {
        "changed": changed,
        "extremes": float((np.abs(change) >= section.extreme).mean()),
        "mean_change": float(change.mean()),
    }


def _metrics(
    exchanges: Sequence[Exchange], usable: Sequence[Exchange], rows: _Rows, dropped: int
) -> dict[str, Any]:
    return {
        "requests": len(exchanges),
        "dropped": dropped,
        "compared": len(rows),
        "champion_errors": len(exchanges) - len(usable),
        "p99_ms": {
            "champion": _p99(one.champion for one in usable),
            "challenger": _p99(one.challenger for one in usable),
        },
    }


def _p99(replies: Iterable[PredictionResponse]) -> float:
    import numpy as np

    known = [reply.ms for reply in replies if not reply.missing and math.isfinite(reply.ms)]
    return percentile(np.array(known, dtype=np.float64), 99)


def _share(count: int, total: int) -> float:
    return count / total if total else math.nan


def _within(value: float, limit: float) -> Verdict:
    if not math.isfinite(value):
        return Verdict.INCONCLUSIVE
    return Verdict.PASS if value <= limit else Verdict.FAIL
