"""Worlds to monitor: what a feature's values are, day by day, without drift and with one.

Each feature is standard normal, rounded to a fifth of its standard deviation, so that a day is
known by how often each of 55 values occurred. Drawing these counts (a multinomial draw) has
exactly the law of drawing and counting the rows, and costs the same for 100 rows as for 100,000.
Peers that need rows get rows of the same law. Needs numpy and scipy only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEATURES = 50
VALUES = np.round(np.arange(-22, 33) / 5, 1)
"""What a feature may be, in standard deviations."""
EDGES = (VALUES[1:] + VALUES[:-1]) / 2
REFERENCE_DAYS, REFERENCE_ROWS = 500, 20
"""The reference: 10,000 rows of training, spread evenly over 500 days."""

INDEPENDENT, REPEATED, DAY_EFFECTS = "independent rows", "autocorrelated rows", "day effects"
KINDS = (INDEPENDENT, REPEATED, DAY_EFFECTS)
RHO = 0.4
"""Autocorrelation: of rows, where each repeats the one before with this probability; of days."""
DAY_VARIANCE = 0.05
"""Share of a feature's variance that all rows of a day have in common."""

CATEGORY_EDGES = (-0.8, 0.0, 0.8)
"""Where a feature is cut into the four categories of a categorical one."""
NEW_CATEGORY = len(CATEGORY_EDGES) + 1


@dataclass(frozen=True)
class Drift:
    """What happens to the first feature from a day on."""

    name: str
    shift: float = 0.0
    """Of the mean, in standard deviations."""
    ramp_days: int = 0
    """Over so many days the shift grows to its size."""
    outliers: float = 0.0
    """Share of the values that are 6 standard deviations out."""
    new_category: float = 0.0
    """Share of the values that are of a category that the reference has not."""

    @property
    def categorical(self) -> bool:
        return self.new_category > 0

    def shifts(self, days: Ints) -> Floats:
        """Return the shift on each day [days], counted from the first day with drift."""
        grown = (days + 1) / self.ramp_days if self.ramp_days else np.ones(len(days))
        return np.asarray(np.where(days < 0, 0.0, self.shift * np.clip(grown, 0.0, 1.0)))

    def shares(self, days: Ints, share: float) -> Floats:
        return np.asarray(np.where(days < 0, 0.0, share))


NO_DRIFT = Drift("none")
DRIFTS = (
    Drift("shift of 0.1 sd", shift=0.1),
    Drift("shift of 0.25 sd", shift=0.25),
    Drift("shift of 0.5 sd", shift=0.5),
    Drift("new category, 2 %", new_category=0.02),
    Drift("tail, 2 % at 6 sd", outliers=0.02),
    Drift("trend to 0.5 sd in 91 days", shift=0.5, ramp_days=91),
)


@dataclass(frozen=True)
class World:
    """A kind of world and the rows of each day; ``drift`` begins on day ``starts``."""

    kind: str
    rows: Ints
    drift: Drift = NO_DRIFT
    starts: int = 0

    @property
    def days(self) -> Ints:
        return np.arange(len(self.rows))

    def reference(self) -> World:
        return replace(self, rows=np.full(REFERENCE_DAYS, REFERENCE_ROWS), drift=NO_DRIFT, starts=0)


def rows_of_days(look_rows: int, looks: int, look_days: int) -> Ints:
    """Return the rows of each day, where a look has ``look_rows`` in ``look_days`` days."""
    ends = look_rows * np.arange(1, look_days + 1) // look_days
    return np.tile(np.diff(ends, prepend=0), looks)


def _day_means(world: World, random: np.random.Generator) -> tuple[Floats, float]:
    """Return what each day adds to the values of a feature [days], and the sd within a day."""
    if world.kind != DAY_EFFECTS:
        return np.zeros(len(world.rows)), 1.0
    shocks = random.normal(size=len(world.rows))
    effects = np.empty_like(shocks)
    effects[0] = shocks[0]
    for day in range(1, len(shocks)):
        effects[day] = RHO * effects[day - 1] + np.sqrt(1 - RHO**2) * shocks[day]
    return np.sqrt(DAY_VARIANCE) * effects, float(np.sqrt(1 - DAY_VARIANCE))


def value_counts(world: World, random: np.random.Generator, *, drifts: bool = False) -> Ints:
    """Return how often a feature had each value on each day [days, values].

    Args:
        world: Its kind, rows and drift.
        random: Source of the world.
        drifts: Whether this is the feature that drifts.
    """
    drift = world.drift if drifts else NO_DRIFT
    since = world.days - world.starts
    means, sd = _day_means(world, random)
    below = ndtr((EDGES - (means + drift.shifts(since))[:, None]) / sd)
    shares = np.diff(below, axis=1, prepend=0.0, append=1.0)
    out = drift.shares(since, drift.outliers)
    shares *= 1 - out[:, None]
    shares[:, np.searchsorted(VALUES, 6.0)] += out
    shares /= shares.sum(axis=1, keepdims=True)
    if world.kind != REPEATED:
        return np.asarray(random.multinomial(world.rows, shares))
    # Rows in runs of equal values: so many runs, each longer by a geometric number. A day then has
    # about as many rows as it should.
    runs = random.multinomial(np.maximum(np.rint(world.rows * (1 - RHO)), 1).astype(int), shares)
    drawn = runs > 0
    runs[drawn] += random.negative_binomial(runs[drawn], 1 - RHO)
    return np.asarray(runs)


def category_counts(world: World, counts: Ints, random: np.random.Generator) -> Ints:
    """Return [days, categories] of counts of values [days, values], with the new category."""
    cuts = np.searchsorted(VALUES, np.array(CATEGORY_EDGES))
    known = np.add.reduceat(counts, np.r_[0, cuts], axis=1)
    share = world.drift.shares(world.days - world.starts, world.drift.new_category)
    moved = random.binomial(known, share[:, None])
    return np.column_stack([known - moved, moved.sum(axis=1)])


def feature_rows(
    world: World, random: np.random.Generator, *, drifts: bool = False
) -> Iterator[Floats]:
    """Yield the rows of a feature, day by day, in their order; categories as their numbers."""
    counts = value_counts(world, random, drifts=drifts)
    support = VALUES
    if drifts and world.drift.categorical:
        counts = category_counts(world, counts, random)
        support = np.arange(NEW_CATEGORY + 1).astype(float)
    for of_day in counts:
        rows = np.repeat(support, of_day)
        yield in_runs(rows, random) if world.kind == REPEATED else random.permutation(rows)


def in_runs(rows: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
    """Order sorted rows so that each repeats the one before with the probability ``RHO``."""
    starts = np.r_[True, (rows[1:] != rows[:-1]) | (random.random(len(rows) - 1) > RHO)]
    run = np.cumsum(starts) - 1
    return np.asarray(rows[np.argsort(random.random(run[-1] + 1)[run], kind="stable")])
