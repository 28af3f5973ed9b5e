"""The verdicts on estimated and realised performance as checks, findings and figures.

Realised performance is tested over windows of several lengths, as features are: each may spend a
part of the budget of false alarms, and within a window the metric, its groups and the comparisons
with replaced versions are corrected by Holm's procedure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.gate.expected_performance import NOT_RECORDED, ExpectedPerformance
from ml_pipeline.monitoring import performance as measure
from ml_pipeline.monitoring.conclusions import Conclusion, Finding
from ml_pipeline.monitoring.drift_judgement import SHARES, Judgement, Terms
from ml_pipeline.monitoring.label_source import SHOWN
from ml_pipeline.monitoring.performance import Performance
from ml_pipeline.statistics import alarm_budget

if TYPE_CHECKING:
    from ml_pipeline.monitoring.labelled_rows import LabelledRows
    from ml_pipeline.monitoring.labels import Join
    from ml_pipeline.tasks.base import Task

REALISED, ESTIMATED, LABELS = "realised performance", "estimated performance", "labels"
CLASSES = "classes of labels"
NOT_SET = "monitor.labels is not set"
TOO_FEW_LABELS = "too many labels are missing: the rows that have one may differ from the others"
STILL_WORSE = 0.01
"""Level at which an open alarm stays open."""


@dataclass(frozen=True)
class Realised:
    """What realised performance is judged by.

    Attributes:
        rows: the labelled rows of the version that serves.
        task: the version's.
        metric: by name.
        expected: by the gate's record of the version; None where it has none.
        why_unknown: why the record cannot be read.
        replaced: numbers of replaced versions, by the digests of their bundles.
        why_not_scored: of those that cannot be scored on these rows, the reason.
    """

    rows: LabelledRows
    task: Task
    metric: str
    expected: ExpectedPerformance | None
    why_unknown: str = ""
    replaced: Mapping[str, int] | None = None
    why_not_scored: Mapping[str, str] | None = None


@dataclass(frozen=True)
class _Series:
    """One comparison in one window, which may raise an alarm."""

    name: str
    p_value: float
    finding: Finding


def judge_estimated(
    estimate: Performance, task: Task, expected: ExpectedPerformance | None, min_rows: int
) -> Judgement:
    """Return an advisory check: an estimate raises no alarm, drift of features does."""
    metric = task.metrics[estimate.metric]
    verdict, why = Verdict.PASS, estimate.why
    if estimate.value is None:
        verdict = Verdict.SKIPPED
    elif estimate.rows < min_rows:
        verdict, why = Verdict.SKIPPED, f"{estimate.rows:,} rows, {min_rows:,} are needed; {why}"
    elif measure.is_as_expected(metric, estimate, expected) is False:
        verdict = Verdict.FAIL
    check = Check(
        name=ESTIMATED,
        verdict=verdict,
        required=False,
        observed=None if estimate.value is None else f"{metric.title} {estimate}",
        expected=expectation(expected),
        why=why,
    )
    return Judgement([check])


def judge_without_labels() -> Judgement:
    """Return the checks of a project that has no source of labels."""
    return Judgement(
        [Check(name=name, verdict=Verdict.SKIPPED, why=NOT_SET) for name in (LABELS, REALISED)]
    )


def judge_realised(facts: Realised, join: Join, terms: Terms) -> tuple[Judgement, Performance]:
    """Judge the metric of labelled rows, its groups, and replaced versions on the same rows.

    Nothing is judged by labels of which too many are missing.

    Returns:
        The judgement, and realised performance in the longest window.
    """
    realised = measure.realised(facts.rows, facts.task, facts.metric, facts.expected)
    if facts.why_unknown and realised.p_value is None:
        realised = replace(realised, why=facts.why_unknown)
    groups = measure.realised_by_group(facts.rows, facts.task, facts.metric, facts.expected)
    metrics = {"groups": {name: one.to_json() for name, one in groups.items()}}
    names = [REALISED, *map(group_name, groups)]
    names += [better_name(number) for number in (facts.replaced or {}).values()]
    if not join.has_enough:
        checks = [_check(REALISED, Verdict.INCONCLUSIVE, realised, facts, TOO_FEW_LABELS)]
        return Judgement(checks, metrics=metrics, undecided=names), realised
    findings, tested = _search(facts, terms)
    verdict, why = _verdict(realised, join, terms, tested)
    if REALISED in findings:
        verdict, why = Verdict.FAIL, findings[REALISED].text
    checks = [_check(REALISED, verdict, realised, facts, why)]
    for group, one in groups.items():
        name = group_name(group)
        found = findings.get(name)
        verdict = Verdict.PASS if name in tested else Verdict.SKIPPED
        why = one.why or ("" if name in tested else "too few rows")
        if found is not None:
            verdict, why = Verdict.FAIL, found.text
        checks.append(_check(name, verdict, one, None, why))
    checks += _other_checks(facts, findings)
    if unknown := facts.rows.unknown_classes:
        text = (
            f"labels of classes that the model does not have, whose rows are left out: "
            f"{', '.join(map(repr, unknown[:SHOWN]))}"
        )
        checks.append(Check(name=CLASSES, verdict=Verdict.FAIL, why=text))
        findings[CLASSES] = Finding(CLASSES, Conclusion.INVESTIGATE, text)
    undecided = [name for name in names if name not in tested]
    return Judgement(checks, [*findings.values()], metrics, undecided), realised


def group_name(group: str) -> str:
    """Return the name of the alarm about a group, such as ``side = left``."""
    return f"{REALISED} of {group}"


def better_name(number: int) -> str:
    """Return the name of the alarm about a replaced version that is better."""
    return f"replaced version {number}"


def expectation(expected: ExpectedPerformance | None) -> str:
    """Return the expected performance as checks show it."""
    return f"expected {expected}" if expected is not None else f"expected: {NOT_RECORDED}"


def _verdict(
    realised: Performance, join: Join, terms: Terms, tested: set[str]
) -> tuple[Verdict, str]:
    """Return the verdict on the metric where it is not worse, and why it is not a pass."""
    if REALISED in tested:
        return Verdict.PASS, ""
    if not join.due:
        return Verdict.SKIPPED, f"{join.waiting:,} rows wait for labels, none is due"
    if realised.rows < terms.min_rows:
        why = f"{realised.rows:,} labelled rows, {terms.min_rows:,} are needed"
        return Verdict.INCONCLUSIVE, why
    return Verdict.INCONCLUSIVE, realised.why or "no window has enough days"


def _search(facts: Realised, terms: Terms) -> tuple[dict[str, Finding], set[str]]:
    """Return what is worse than expected, by name, and the names that could be tested."""
    rows = facts.rows
    if not len(rows):
        return {}, set()
    newest = int(rows.days.max())
    span = newest - int(rows.days.min()) + 1
    lengths = alarm_budget.window_days(span, max(1, math.ceil(terms.elapsed_days)))
    findings: dict[str, Finding] = {}
    tested: set[str] = set()
    budget = terms.budget * SHARES["performance"]
    for length in lengths:
        window = rows.since(newest - length + 1)
        if len(window) < terms.min_rows:
            continue
        level = alarm_budget.level(
            budget, elapsed_days=max(0.0, terms.elapsed_days), windows=len(lengths)
        )
        series = _series(replace(facts, rows=window), terms)
        quiet = [one for one in series if one.name not in terms.open_alarms]
        rejected = alarm_budget.holm([one.p_value for one in quiet], level)
        for one, worse in zip(quiet, rejected, strict=True):
            if worse:
                findings.setdefault(one.name, one.finding)
        for one in series:
            first_test = one.name not in tested
            if one.name in terms.open_alarms and first_test and one.p_value <= STILL_WORSE:
                findings[one.name] = one.finding
            tested.add(one.name)
    return findings, tested


def _series(facts: Realised, terms: Terms) -> list[_Series]:
    """Return the comparisons of one window; those that cannot be tested are left out."""
    import numpy as np

    window = facts.rows
    first = {name: day for name, day in terms.first_days.items() if day > int(window.days.min())}
    found = []
    realised = measure.realised(window, facts.task, facts.metric, facts.expected)
    by_name = {REALISED: (realised, Conclusion.RETRAIN)} | {
        group_name(name): (one, Conclusion.INVESTIGATE)
        for name, one in measure.realised_by_group(
            window, facts.task, facts.metric, facts.expected
        ).items()
    }
    for name, (one, conclusion) in by_name.items():
        if one.p_value is not None and name not in first:
            text = f"{name}: {_described(one, facts)}, {expectation(facts.expected)}"
            if conclusion is Conclusion.INVESTIGATE:
                text = f"{name}: {_described(one, facts)}, worse than the gate expected"
            found.append(_Series(name, one.p_value, Finding(name, conclusion, text)))
    for digest, number in (facts.replaced or {}).items():
        name = better_name(number)
        if digest not in window.others or not np.isfinite(window.others[digest]).any():
            continue
        other, mine, test = measure.against_other(window, facts.task, facts.metric, digest)
        if test is None or name in first:
            continue
        text = (
            f"version {number}, which was replaced, is better on the same rows: "
            f"{_described(other, facts)}, against {mine}"
        )
        found.append(_Series(name, test.p_value, Finding(name, Conclusion.ROLL_BACK, text)))
    return found


def _described(one: Performance, facts: Realised) -> str:
    title = facts.task.metrics[facts.metric].title
    return f"{title} {one} in {one.rows:,} rows from {one.since} to {one.until}"


def _other_checks(facts: Realised, findings: Mapping[str, Finding]) -> Sequence[Check]:
    checks = []
    for digest, number in (facts.replaced or {}).items():
        name = better_name(number)
        why = (facts.why_not_scored or {}).get(digest, "")
        if name in findings:
            checks.append(Check(name=name, verdict=Verdict.FAIL, why=findings[name].text))
        elif why:
            checks.append(
                Check(name=name, verdict=Verdict.SKIPPED, why=f"not compared on the rows: {why}")
            )
        elif digest in facts.rows.others:
            checks.append(
                Check(
                    name=name,
                    verdict=Verdict.PASS,
                    observed="not better on the same rows",
                    expected="not better than the version that replaced it",
                )
            )
    return checks


def _check(
    name: str, verdict: Verdict, one: Performance, facts: Realised | None, why: str
) -> Check:
    return Check(
        name=name,
        verdict=verdict,
        observed=None if one.value is None else f"{one.metric} {one}, {one.rows:,} rows",
        expected="not worse than the gate expected"
        if facts is None
        else expectation(facts.expected),
        why=why,
    )
