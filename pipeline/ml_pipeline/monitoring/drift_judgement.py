"""The verdicts on features, predictions and data tests as checks, findings and figures."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.monitoring.conclusions import Conclusion, Finding
from ml_pipeline.monitoring.feature_drift import FeatureVerdict, MonitoredFeature, judge_features
from ml_pipeline.monitoring.monitored_model import PREDICTION
from ml_pipeline.monitoring.summaries import DAY, FEATURE, RULE, LiveSummaries
from ml_pipeline.monitoring.volume import day_volumes
from ml_pipeline.statistics.alarm_budget import DAYS_PER_YEAR
from ml_pipeline.statistics.drift_test import DriftTest

SHARES = {
    "features": 0.4,
    "predictions": 0.2,
    "performance": 0.2,
    "data tests": 0.1,
    "volume": 0.1,
}
"""Parts of the budget of false alarms."""
SOURCE_FAULTS = ("missing", "unseen")
"""Kinds of drift that are usually a fault of the data's source: a retraining would learn it."""


@dataclass(frozen=True)
class Judgement:
    """What one part of a look gives to its report."""

    checks: Sequence[Check] = ()
    findings: Sequence[Finding] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    undecided: Collection[str] = ()
    """Names of alarms that could not be judged."""
    first_drift: int | None = None
    """The first day of the earliest window with drift."""


@dataclass(frozen=True)
class Terms:
    """What all tests of a look share."""

    first_day: int
    """From which day on the version's rows are judged."""
    first_days: Mapping[str, int]
    """The same for series whose alarm has ended."""
    open_alarms: Collection[str]
    elapsed_days: float
    budget: float
    """Expected number of false alarms a year."""
    min_rows: int


def judge_drift(
    summaries: LiveSummaries, terms: Terms, ignored_importance: float, not_logged: Collection[str]
) -> Judgement:
    """Compare the features and the predictions of a version's live rows with its training.

    Features that drifted come first, the most important one at the head.

    Args:
        summaries: Of the version.
        terms: Of all tests of this look.
        ignored_importance: Features with a smaller share of the model's importance raise no alarm.
        not_logged: Features that are hashed in the prediction log, or left out of it.
    """
    importance = summaries.model.importance
    verdicts = sorted(
        _verdicts(summaries, FEATURE, terms, SHARES["features"]),
        key=lambda verdict: -importance[verdict.name] if verdict.drifted else 0.0,
    )
    checks = [
        Check(
            name=drift_name(name),
            verdict=Verdict.SKIPPED,
            why="serving.redact keeps its values out of the prediction log",
        )
        for name in sorted(not_logged)
    ]
    findings = []
    metrics: dict[str, Any] = {}
    for verdict in verdicts:
        name = verdict.name
        share = importance[name]
        ignored = share < ignored_importance
        checks.append(_check(name, verdict, share, required=not ignored))
        metrics[name] = _figures(verdict) | {"importance": round(share, 4)}
        if verdict.drifted and not ignored:
            findings.append(_drift(name, verdict, share))
    prediction = _verdicts(summaries, PREDICTION, terms, SHARES["predictions"])
    for verdict in prediction:
        checks.append(_check(PREDICTION, verdict))
        if verdict.drifted:
            findings.append(_drift(PREDICTION, verdict, None))
    drifted = [each for each in verdicts if each.drifted]
    shown = {
        "features": metrics,
        "predictions": _figures(prediction[0]) if prediction else None,
        "drifted_importance": round(sum(importance[each.name] for each in drifted), 4),
    }
    first = min((each.first_day for each in (*drifted, *prediction) if each.drifted), default=None)
    undecided = [drift_name(each.name) for each in (*verdicts, *prediction) if each.test is None]
    return Judgement(checks, findings, shown, undecided, first)


def judge_rules(summaries: LiveSummaries, terms: Terms) -> Judgement:
    """Compare the shares of live rows that fail a data test with those of training rows."""
    rules = summaries.rules
    checks: list[Check] = []
    findings: list[Finding] = []
    shares: dict[str, float] = {}
    tolerances = {test.name: test.tolerance for test in rules.tests}
    verdicts = _verdicts(summaries, RULE, terms, SHARES["data tests"])
    for verdict in verdicts:
        name = verdict.name.removeprefix(RULE)
        more = 0.0 if verdict.test is None else verdict.test.shift
        share = summaries.reference_failures[name] + more
        shares[name] = round(share, 6)
        failed = verdict.drifted and share > tolerances[name]
        text = f"{share:.2%} of rows fail the data test {name} since {shown_day(verdict.first_day)}"
        checks.append(
            Check(
                name=rule_name(name),
                verdict=_verdict_of(verdict.test, failed=failed),
                observed=round(share, 6),
                expected=f"at most {tolerances[name]:.2%}, or not more than in training",
                why=text if failed else "",
            )
        )
        if failed:
            findings.append(Finding(rule_name(name), Conclusion.INVESTIGATE, text))
    if not rules.tests:
        why = "no data test is about the model's features alone"
        checks.append(Check(name="data tests", verdict=Verdict.SKIPPED, why=why))
    undecided = [rule_name(each.name.removeprefix(RULE)) for each in verdicts if each.test is None]
    return Judgement(checks, findings, {"failing": shares, "left_out": rules.left_out}, undecided)


def judge_volume(rows: Mapping[int, int], terms: Terms, first: int, last: int) -> Judgement:
    """Compare the rows of each day that is over with those of the same weekdays before.

    Args:
        rows: Number of rows by day.
        terms: Of all tests of this look.
        first: The first day that no earlier look has judged.
        last: The last day that is over.
    """
    name = "volume"
    level = terms.budget * SHARES[name] / DAYS_PER_YEAR
    volumes = day_volumes(rows, first, last)
    if not volumes:
        why = "no day that is over and has four earlier weeks to compare with"
        return Judgement([Check(name=name, verdict=Verdict.SKIPPED, why=why)])
    worst = min(volumes, key=lambda each: each.p_value)
    expected = f"p above {level:.2g}: as on the same weekdays before"
    observed = f"{worst.rows:,} rows on {shown_day(worst.day)}"
    metrics = {"volume": {"day": as_date(worst.day).isoformat(), "rows": worst.rows}}
    metrics["volume"] |= {"usual": round(worst.usual, 1), "p_value": worst.p_value}
    if worst.p_value > level:
        passed = Check(name=name, verdict=Verdict.PASS, observed=observed, expected=expected)
        return Judgement([passed], metrics=metrics)
    why = f"{observed}, {worst.usual:,.0f} are usual on this weekday"
    failed = Check(name=name, verdict=Verdict.FAIL, observed=observed, expected=expected, why=why)
    return Judgement([failed], [Finding(name, Conclusion.INVESTIGATE, why)], metrics)


def drift_name(series: str) -> str:
    """Return the name of the alarm about a feature, or about the predictions."""
    return f"drift of {series}"


def rule_name(test: str) -> str:
    """Return the name of the alarm about a data test."""
    return f"data test {test}"


def shown_day(day: int) -> str:
    """Return a day, counted since 1970-01-01, as ``12 May 2026``."""
    found = as_date(day)
    return f"{found.day} {found:%B %Y}"


def epoch_day(moment: datetime) -> int:
    """Return the day of a moment, counted since 1970-01-01, in UTC."""
    return int(moment.timestamp() // DAY)


def as_date(day: int) -> date:
    return datetime.fromtimestamp(day * DAY, UTC).date()


def _verdicts(
    summaries: LiveSummaries, prefix: str, terms: Terms, share: float
) -> list[FeatureVerdict]:
    today = summaries.last_day
    if today is None:
        return []
    monitored = []
    for series, reference in summaries.references.items():
        if not series.startswith(prefix) or series not in summaries.by_series:
            continue
        alarm = rule_name(series[len(RULE) :]) if prefix == RULE else drift_name(reference.name)
        monitored.append(
            MonitoredFeature(
                reference,
                summaries.by_series[series],
                max(terms.first_day, terms.first_days.get(alarm, 0)),
                alarm in terms.open_alarms,
            )
        )
    return judge_features(
        monitored,
        today=today,
        elapsed_days=terms.elapsed_days,
        budget=terms.budget * share,
        min_rows=terms.min_rows,
    )


def _drift(name: str, verdict: FeatureVerdict, importance: float | None) -> Finding:
    source_fault = verdict.test is not None and verdict.test.kind in SOURCE_FAULTS
    of_feature = importance is not None and not source_fault
    conclusion = Conclusion.RETRAIN if of_feature else Conclusion.INVESTIGATE
    text = f"{drift_name(name)}: {drift_text(verdict, importance)}"
    return Finding(drift_name(name), conclusion, text)


def drift_text(verdict: FeatureVerdict, importance: float | None) -> str:
    """Return what differs, and since when."""
    text = f"{effect_text(verdict.test)}, since {shown_day(verdict.first_day)}"
    return text if importance is None else f"{text} (importance {importance:.1%})"


def effect_text(test: DriftTest | None) -> str:
    """Return what differs, and by how much."""
    if test is None:
        return "not enough rows since to see whether it goes on"
    match test.kind:
        case "location":
            return f"{test.effect:+.2f} sd ({test.shift:+.3g})"
        case "spread":
            return f"its spread differs (distance {test.distance:.2f} sd)"
        case "tail":
            return f"{test.effect:+.1%} of rows in the tails"
        case "missing":
            return f"{test.effect:+.1%} of rows without a value"
        case "unseen":
            return f"{test.effect:+.1%} of rows with values that training did not see"
        case _:
            return f"shares of categories differ by {test.distance:.1%}"


def smallest_text(test: DriftTest) -> str:
    """Return the smallest effect that the window would have shown with power 0.8."""
    if test.kind == "location":
        return f"{test.detectable:.2f} sd and more"
    return f"differences of {test.detectable:.1%} of rows and more"


def _check(
    name: str, verdict: FeatureVerdict, importance: float | None = None, *, required: bool = True
) -> Check:
    test = verdict.test
    days = verdict.last_day - verdict.first_day + 1
    window = f"{days} {'day' if days == 1 else 'days'}"
    why = "" if test is not None else "too few rows"
    if verdict.drifted:
        why = drift_text(verdict, importance)
        if test is not None and math.isfinite(test.detectable):
            why += f"; {window} show {smallest_text(test)}"
    return Check(
        name=drift_name(name),
        verdict=_verdict_of(test, failed=verdict.drifted),
        required=required,
        observed=None if test is None else f"p {test.p_value:.2g}",
        expected="" if test is None else f"p above {verdict.level:.2g} in {window}",
        why=why,
    )


def _verdict_of(test: DriftTest | None, *, failed: bool) -> Verdict:
    if failed:
        return Verdict.FAIL
    return Verdict.SKIPPED if test is None else Verdict.PASS


def _figures(verdict: FeatureVerdict) -> dict[str, Any]:
    test = verdict.test
    if test is None:
        return {"drifted": verdict.drifted, "rows": 0}
    return {
        "drifted": verdict.drifted,
        "p_value": test.p_value,
        "level": verdict.level,
        "kind": test.kind,
        "effect": test.effect,
        "shift": test.shift,
        "distance": test.distance,
        "detectable": test.detectable,
        "rows": test.rows,
        "since": as_date(verdict.first_day).isoformat(),
        "until": as_date(verdict.last_day).isoformat(),
    }
