"""Years of looks at simulated features, judged by the product and by rules of thumb.

The product's part is ``ml_pipeline.monitoring.feature_drift.judge_features``, which ``monitor``
runs. A world has 50 features that are independent of each other, so each is judged by itself with a
fiftieth of the budget, which is the first step of Holm's procedure; the later steps matter only
once a feature of the world has alarmed.

A year without drift has 128,000 tests in 365 looks. Only those are run that could alarm: where a
score is further from the reference than ``NEAR`` of what a test with the world's true variance
would need. Of the others a sample is run too, and none may alarm.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from ml_pipeline.config.monitor import MonitorSection
from ml_pipeline.monitoring.drift_judgement import SHARES
from ml_pipeline.monitoring.feature_drift import FeatureVerdict, MonitoredFeature, judge_features
from ml_pipeline.statistics.alarm_budget import DAYS_PER_YEAR, false_alarm_rate, window_days
from ml_pipeline.statistics.drift_test import FeatureReference, UnitSummary
from ml_pipeline.statistics.feature_reference import CELLS, MOST_TAIL, TAIL
from scipy.special import gammaincc, ndtr, ndtri, rel_entr

sys.path.append(str(Path(__file__).resolve().parent / "monitoring_peers"))
import rules
import worlds
from worlds import FEATURES, VALUES, Drift, Floats, Ints, World

SETTINGS = MonitorSection()
BUDGET = SHARES["features"] * false_alarm_rate(SETTINGS.false_alarms_per_year)
NEAR = 0.7
CHECKED = 2
"""Looks of each world that are judged although no test is near an alarm."""
ORDERED_ROWS = 1024
"""Rows of a day whose order is drawn, for what neighbouring rows have in common."""
SCORES = 5
"""Of a number, which share the level of its test."""
FIRST_DAY = 1_000
RULES = {
    "PSI > 0.1": (rules.psi, rules.PSI_LIMITS[0]),
    "PSI > 0.25": (rules.psi, rules.PSI_LIMITS[1]),
    "evidently": (rules.evidently, rules.EVIDENTLY_LIMIT),
}
DATASET = "evidently, dataset"


@dataclass(frozen=True)
class Year:
    """Alarms in one world without drift, by who raised them."""

    alarms: dict[str, int]
    checked: int
    """Looks that were judged although they were not near an alarm."""
    missed: int
    """Those of them that alarmed."""


def year_without_drift(kind: str, look_rows: int, look_days: int, seed: int) -> Year:
    random = np.random.default_rng(seed)
    looks = 365 // look_days
    world = World(kind, worlds.rows_of_days(look_rows, looks, look_days))
    references, counts = (
        np.stack([worlds.value_counts(each, random) for _ in range(FEATURES)])
        for each in (world.reference(), world)
    )
    near = near_alarms(references, counts, kind, look_days)
    alarms = {"ml-pipeline": 0}
    for feature in np.flatnonzero(near.any(axis=1)):
        watched = Watched(kind, references[feature], counts[feature], random)
        alarms["ml-pipeline"] += watched.openings(near[feature], look_days)
    missed = 0
    far = np.argwhere(~near)
    sample = far[random.choice(len(far), min(CHECKED, len(far)), replace=False)]
    for feature, look in sample:
        watched = Watched(kind, references[feature], counts[feature], random)
        missed += watched.judge((look + 1) * look_days, look_days, False).drifted
    totals = references.sum(axis=1)
    of_looks = counts.reshape(FEATURES, looks, look_days, -1).sum(axis=2)
    for name, (distance, limit) in RULES.items():
        flags = np.stack(
            [distance(totals[each], of_looks[each]) >= limit for each in range(FEATURES)]
        )
        alarms[name] = int(openings(flags).sum())
        if name == "evidently":
            drifted = flags.mean(axis=0) >= rules.EVIDENTLY_COLUMNS
            alarms[DATASET] = int(openings(drifted[None]).sum())
    return Year(alarms, len(sample), missed)


def openings(flags: np.ndarray) -> Ints:
    """Return how many alarms [features] are opened by flags [features, looks]."""
    first = flags[:, :1].astype(int)
    return np.asarray((first + (flags[:, 1:] & ~flags[:, :-1]).sum(axis=1, keepdims=True))[:, 0])


class Watched:
    """One feature of a world, as ``monitor`` knows it."""

    def __init__(
        self,
        kind: str,
        reference: Ints,
        counts: Ints,
        random: np.random.Generator,
        *,
        categorical: bool = False,
    ) -> None:
        """Build the reference and the summary of all days.

        Args:
            kind: Of the world.
            reference: Counts [days, values] of the reference.
            counts: Counts [days, values] of the world.
            random: For the order of rows within a day.
            categorical: Whether the values are categories.
        """
        days = np.repeat(np.arange(len(reference)), reference.sum(axis=1))
        support = np.arange(counts.shape[1])
        rows = np.concatenate([np.repeat(support, of_day) for of_day in reference])
        if categorical:
            names = np.array([f"c{code}" for code in support], dtype=object)
            self.reference = FeatureReference.categorical("feature", names[rows], days)
        else:
            names = VALUES
            self.reference = FeatureReference.numeric("feature", names[rows], days)
        each = self.reference.summarize(names, support)
        ordered, of = _in_order(kind, counts, random)
        order = self.reference.summarize(names[ordered], of)
        units = np.arange(len(counts))
        blocks = np.zeros((3, len(counts), order.blocks.shape[2]))
        blocks[:, order.units] = order.blocks
        self.summary = UnitSummary(
            FIRST_DAY + units, counts @ each.counts, counts @ each.moments, blocks
        )

    def judge(
        self, days: int, look_days: int, is_open: bool, first_day: int = FIRST_DAY
    ) -> FeatureVerdict:
        """Return the verdict of the look that ends the first ``days`` days."""
        today = FIRST_DAY + days - 1
        summary = self.summary.between(FIRST_DAY, today)
        feature = MonitoredFeature(self.reference, summary, first_day, is_open)
        return judge_features(
            [feature],
            today=today,
            elapsed_days=look_days,
            budget=BUDGET / FEATURES,
            min_rows=SETTINGS.min_rows,
        )[0]

    def openings(self, near: np.ndarray, look_days: int) -> int:
        """Return how many alarms are opened in looks [looks]; ``near`` are those that could."""
        count, is_open, first_day = 0, False, FIRST_DAY
        for look in range(len(near)):
            if count == 0 and not near[look]:
                continue
            days = (look + 1) * look_days
            drifted = self.judge(days, look_days, is_open, first_day).drifted
            count += drifted and not is_open
            if is_open and not drifted:
                first_day = FIRST_DAY + days
            is_open = drifted
        return count


def _in_order(kind: str, counts: Ints, random: np.random.Generator) -> tuple[Ints, Ints]:
    """Return values and days of rows in the order of their arrival, at most 1,024 of each day."""
    ordered, days = [], []
    for day, of_day in enumerate(counts):
        rows = np.repeat(np.arange(len(of_day)), of_day)
        if len(rows) > ORDERED_ROWS:
            rows = rows[random.integers(len(rows), size=ORDERED_ROWS)]
            if kind == worlds.REPEATED:
                fresh = random.random(ORDERED_ROWS) >= worlds.RHO
                fresh[0] = True
                rows = rows[np.maximum.accumulate(np.where(fresh, np.arange(ORDERED_ROWS), 0))]
        elif kind == worlds.REPEATED:
            rows = worlds.in_runs(rows, random) if len(rows) else rows
        else:
            rows = random.permutation(rows)
        ordered.append(rows)
        days.append(np.full(len(rows), day))
    return np.concatenate(ordered), np.concatenate(days)


# --- which looks could alarm ----------------------------------------------------------------------


def near_alarms(references: Ints, counts: Ints, kind: str, look_days: int) -> np.ndarray:
    """Return in which looks an alarm is possible [features, looks]; see the module."""
    totals = references.sum(axis=1)
    scores = _scores(references)
    rows = np.cumsum(counts.sum(axis=2), axis=1)
    sums = np.cumsum(counts @ scores.transpose(0, 2, 1), axis=1)
    rows, sums = (np.concatenate([np.zeros_like(x[:, :1]), x], axis=1) for x in (rows, sums))
    m = totals.sum(axis=1)[:, None, None]
    means = (totals[:, None] @ scores.transpose(0, 2, 1)) / m
    squares = (totals[:, None] @ (scores**2).transpose(0, 2, 1)) / m
    variances = squares - means**2
    looks = np.arange(look_days, counts.shape[1] + 1, look_days)
    found = np.zeros((len(counts), len(looks)), dtype=bool)
    for number, end in enumerate(looks):
        lengths = window_days(int(end), look_days)
        tail = BUDGET * look_days / DAYS_PER_YEAR / len(lengths) / FEATURES / SCORES / 2
        needed = NEAR * -ndtri(tail / 2)
        starts = end - np.array(lengths)
        n = np.maximum(rows[:, end, None] - rows[:, starts], 1)[:, :, None]
        mean = (sums[:, end, None] - sums[:, starts]) / n
        alike = np.array([_alike(kind, length) for length in lengths])
        mine = 1 / (_design(kind) / n + alike)
        theirs = 1 / (_design(kind) / m + _alike(kind, worlds.REFERENCE_DAYS))
        z = np.abs(mean - means) / np.sqrt(variances * (1 / mine + 1 / theirs) + 1e-300)
        z[:, :, 2:] = _share_roots(mean[..., 2:], means[..., 2:], mine[..., 2:], theirs[..., 2:])
        near = z > needed
        if kind == worlds.DAY_EFFECTS and near[..., 1:].any():
            # The effect of a day on these scores is about the square of a normal variable.
            part = (alike * mine * theirs / (mine + theirs)) ** 1.5
            days = np.array([length / _inflation(length) for length in lengths])
            skew = np.broadcast_to(part * np.sqrt(8 / days)[:, None], z.shape)[..., 1:]
            shape = 4 / np.maximum(skew[near[..., 1:]], 1e-3) ** 2
            far = gammaincc(shape, shape + z[..., 1:][near[..., 1:]] / NEAR * np.sqrt(shape))
            near[..., 1:][near[..., 1:]] = far < tail
        found[:, number] = near.any(axis=(1, 2))
    return found


def _scores(references: Ints) -> Floats:
    """Return the scores [features, 4, values] of a reference [features, days, values]."""
    totals = references.sum(axis=1)
    share = totals / totals.sum(axis=1, keepdims=True)
    upto = np.cumsum(share, axis=1)
    rank = upto - share / 2
    scores = np.zeros((len(totals), 4, totals.shape[1]))
    scores[:, 0], scores[:, 1] = rank, np.abs(2 * rank - 1)
    quantiles = np.r_[TAIL, np.arange(1, CELLS) / CELLS, 1 - TAIL]
    for feature, below in enumerate(upto):
        edges = np.unique(np.searchsorted(below, quantiles))
        low = edges[below[edges] <= MOST_TAIL]
        high = edges[1 - below[edges] <= MOST_TAIL]
        scores[feature, 2, : low[-1] + 1 if len(low) else 0] = 1
        scores[feature, 2, high[0] + 1 if len(high) else len(below) :] = 1
        seen = np.flatnonzero(totals[feature])
        scores[feature, 3, : seen[0]] = scores[feature, 3, seen[-1] + 1 :] = 1
    return scores


def _share_roots(mine: Floats, theirs: Floats, n: Floats, m: Floats) -> Floats:
    """Return the signed roots of the likelihood ratio of two shares, without their signs."""
    pooled = np.clip((mine * n + theirs * m) / (n + m), 1e-300, 1)
    ratio = sum(
        size * (rel_entr(np.clip(share, 0, 1), pooled) + rel_entr(1 - share, 1 - pooled))
        for size, share in ((n, mine), (m, theirs))
    )
    return np.asarray(np.sqrt(np.maximum(2 * ratio, 0)))


def _design(kind: str) -> float:
    """Return how many rows count as one, since rows repeat."""
    return (1 + worlds.RHO) / (1 - worlds.RHO) if kind == worlds.REPEATED else 1.0


def _alike(kind: str, days: int) -> Floats:
    """Return what day effects add to the variance of scores [4] over ``days`` days."""
    if kind != worlds.DAY_EFFECTS:
        return np.zeros(4)
    return _shares_of_days() * _inflation(days) / days


def _inflation(days: int) -> float:
    """Return the variance of a mean of autocorrelated days, over that of independent ones."""
    rho = worlds.RHO
    return (1 + rho) / (1 - rho) - 2 * rho * (1 - rho**days) / (days * (1 - rho) ** 2)


@cache
def _shares_of_days() -> Floats:
    """Return which share of the variance of each score [4] is that of the days."""
    effects, weights = np.polynomial.hermite_e.hermegauss(40)
    weights /= weights.sum()
    means = np.sqrt(worlds.DAY_VARIANCE) * effects
    below = ndtr((worlds.EDGES - means[:, None]) / np.sqrt(1 - worlds.DAY_VARIANCE))
    shares = np.diff(below, axis=1, prepend=0.0, append=1.0)
    population = weights @ shares
    rank = np.cumsum(population) - population / 2
    tail = (np.abs(2 * rank - 1) >= 1 - 2 * MOST_TAIL).astype(float)
    scores = np.stack([rank, np.abs(2 * rank - 1), tail, tail])
    by_day = shares @ scores.T
    variance = population @ scores.T**2 - (population @ scores.T) ** 2
    return np.asarray((weights @ by_day**2 - (weights @ by_day) ** 2) / variance)


# --- power ----------------------------------------------------------------------------------------

QUIET_DAYS, DRIFT_DAYS = 91, 182
"""Days before and after a drift begins."""


def delays(kind: str, week_rows: int, drift: Drift, seed: int) -> dict[str, int | None]:
    """Return after how many days of drift each raised an alarm about the feature; None: never.

    The rules look once a week, ours once a week and once a day at the same rows.
    """
    random = np.random.default_rng(seed)
    weeks = (QUIET_DAYS + DRIFT_DAYS) // 7
    world = World(kind, worlds.rows_of_days(week_rows, weeks, 7), drift, QUIET_DAYS)
    reference = worlds.value_counts(world.reference(), random)
    counts = worlds.value_counts(world, random, drifts=True)
    if drift.categorical:
        before = world.reference()
        reference = worlds.category_counts(before, reference, random)
        counts = worlds.category_counts(world, counts, random)
    watched = Watched(kind, reference, counts, random, categorical=drift.categorical)
    found: dict[str, int | None] = {}
    for name, look_days in (("ml-pipeline", 7), ("ml-pipeline, daily", 1)):
        ends = range(QUIET_DAYS + look_days, len(counts) + 1, look_days)
        alarms = (end - QUIET_DAYS for end in ends if watched.judge(end, look_days, False).drifted)
        found[name] = next(alarms, None)
    of_looks = counts.reshape(weeks, 7, -1).sum(axis=1)[QUIET_DAYS // 7 :]
    for name, (distance, limit) in RULES.items():
        flags = distance(reference.sum(axis=0), of_looks, categorical=drift.categorical) >= limit
        found[name] = int(np.argmax(flags) + 1) * 7 if flags.any() else None
    return found
