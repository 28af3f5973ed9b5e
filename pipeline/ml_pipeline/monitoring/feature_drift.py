"""Which features have drifted: each is compared with training over windows of several lengths.

A window ends with the newest day. Each window length may spend a part of the budget of false
alarms, in proportion to the time since the last look, so that frequent looks cost nothing; within a
window length the features are corrected by Holm's procedure (Holm 1979, "A simple sequentially
rejective multiple test procedure", Scandinavian Journal of Statistics 6).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ml_pipeline.statistics import alarm_budget
from ml_pipeline.statistics.drift_test import DriftTest, FeatureReference, UnitSummary, test_drift

STILL_DRIFTED = 0.01
"""Level at which a feature whose alarm is open still differs from training."""


@dataclass(frozen=True)
class MonitoredFeature:
    """What is known of a feature: training's distribution, and a summary of each day since."""

    reference: FeatureReference
    summary: UnitSummary
    first_day: int
    """Days before are not judged: another version served, or an alarm has ended."""
    alarm_is_open: bool = False


@dataclass(frozen=True)
class FeatureVerdict:
    """Whether a feature drifted, and the window that shows it most."""

    name: str
    drifted: bool
    first_day: int
    last_day: int
    level: float
    """What the p-value had to reach in this window, before Holm's correction."""
    test: DriftTest | None
    """None if no window had enough rows."""


def judge_features(
    features: Sequence[MonitoredFeature],
    *,
    today: int,
    elapsed_days: float,
    budget: float,
    min_rows: int,
) -> list[FeatureVerdict]:
    """Return the verdict on each feature.

    A feature with an open alarm counts as drifted while the shortest window with enough rows
    differs at the level ``STILL_DRIFTED``; it spends nothing of the budget.

    Args:
        features: in the order of the model.
        today: the day of the newest row, counted since 1970-01-01.
        elapsed_days: since the last look; with 0 nothing may be spent, and no alarm is opened.
        budget: expected number of false alarms a year, over all features.
        min_rows: windows with fewer rows are not tested.
    """
    verdicts: dict[int, FeatureVerdict] = {
        place: _still_drifted(feature, today, min_rows)
        for place, feature in enumerate(features)
        if feature.alarm_is_open
    }
    quiet = [place for place in range(len(features)) if place not in verdicts]
    longest = max((today - features[place].first_day + 1 for place in quiet), default=0)
    lengths = alarm_budget.window_days(longest, max(1, math.ceil(elapsed_days)))
    for length in lengths if elapsed_days > 0 else ():
        level = alarm_budget.level(budget, elapsed_days=elapsed_days, windows=len(lengths))
        tested = _tests(features, quiet, today, length, level, min_rows)
        rejected = alarm_budget.holm([test.p_value for _, _, test in tested], level)
        for (place, first, test), drifted in zip(tested, rejected, strict=True):
            verdict = FeatureVerdict(
                features[place].reference.name, drifted, first, today, level, test
            )
            verdicts[place] = _stronger(verdicts.get(place), verdict)
    return [
        verdicts.get(place) or _untested(feature, today) for place, feature in enumerate(features)
    ]


def _tests(
    features: Sequence[MonitoredFeature],
    places: Sequence[int],
    today: int,
    length: int,
    level: float,
    min_rows: int,
) -> list[tuple[int, int, DriftTest]]:
    """Return place, first day and test of each feature with enough rows in a window."""
    tests = []
    for place in places:
        feature = features[place]
        first = max(today - length + 1, feature.first_day)
        window = feature.summary.between(first, today)
        if window.rows >= min_rows:
            tests.append(
                (
                    place,
                    first,
                    test_drift(feature.reference, window, level=level, history=feature.summary),
                )
            )
    return tests


def _stronger(one: FeatureVerdict | None, other: FeatureVerdict) -> FeatureVerdict:
    """Return the verdict with the smaller p-value beside its level, a rejection first."""
    if one is None or one.test is None or other.test is None:
        return other
    if one.drifted != other.drifted:
        return one if one.drifted else other
    return one if one.test.p_value * other.level <= other.test.p_value * one.level else other


def _still_drifted(feature: MonitoredFeature, today: int, min_rows: int) -> FeatureVerdict:
    name = feature.reference.name
    length = 1
    while True:
        first = max(today - length + 1, feature.first_day)
        window = feature.summary.between(first, today)
        if window.rows >= min_rows or first <= feature.first_day:
            break
        length *= 2
    if window.rows < min_rows:
        return FeatureVerdict(name, True, first, today, STILL_DRIFTED, None)
    test = test_drift(feature.reference, window, level=STILL_DRIFTED, history=feature.summary)
    drifted = test.p_value <= STILL_DRIFTED
    return FeatureVerdict(name, drifted, first, today, STILL_DRIFTED, test)


def _untested(feature: MonitoredFeature, today: int) -> FeatureVerdict:
    return FeatureVerdict(feature.reference.name, False, feature.first_day, today, 0.0, None)
