"""The reference rows of one feature, as cells and scores that later rows are summarised by."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ml_pipeline.statistics.unit_summary import UnitSummary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

Kind: TypeAlias = Literal["location", "spread", "tail", "missing", "unseen", "category"]

CELLS = 64
"""Quantiles that the values of a number are counted between."""
TAIL = 0.01
"""Share of the reference in each tail."""
MOST_TAIL = 0.02
"""A tail of ties that is larger than this is left to the test of location."""
BEYOND = 3
"""Ranges of the middle 99 % of the reference by which a number lies outside of it to be unseen: as
after a change of its unit. What is nearer is a tail: ranks among more shares than before and
counters lie outside of every range that a training can see, and mean nothing by it."""
FREQUENT = 0.01
"""Share from which a category is counted by itself: rarer ones are often only in the reference by
chance, and then seem to have become rarer."""
CATEGORIES = 24
"""So counted at most; the others are counted in ``GROUPS`` groups, by a hash of their names."""
GROUPS = 8
GROUP = "rare categories, group"
BLOCK = 8
"""Consecutive rows of a block, whose sums show how alike neighbouring rows are."""
CHUNK = 131_072
"""Rows that are summarised at a time: what fits into the cache of a processor."""


@dataclass(frozen=True, eq=False)
class FeatureReference:
    """The reference rows of one feature.

    A value falls into one of c cells, the last of which is that of missing values. Each of s scores
    gives a number to a cell: the mean of a score over rows is what is tested. A score that says
    "belongs to" is a share. All scores are from 0 to 1.

    Numbers: the mid-rank among the reference's values (location), its distance from the middle
    (spread), the two tails of 1 %, values far outside the reference's range (unseen), missing ones.
    Categories: each frequent one, groups of the rare ones, those that the reference has not
    (unseen), missing ones; a row of the reference whose category no other unit has is unseen.
    """

    name: str
    kinds: tuple[Kind, ...]
    labels: tuple[str, ...]
    """Of each score: which category it counts; empty if it is none."""
    scores: Floats
    """[s, c]"""
    counted: Floats
    """[s, c]: 1 where a score counts the rows of a cell."""
    units: Ints | None
    """[d], ascending; None where rows have no unit."""
    rows_by_unit: Floats
    """[d, s]: rows that a score counts; one line where there are no units."""
    sums_by_unit: Floats
    """[d, s]: sums of the scores."""
    squares: Floats
    """[s]: sums of the squares of the scores."""
    counts: Ints
    """[c]"""
    edges: Floats | None
    """Upper edges of a number's cells, each included; None for categories."""
    places: Floats
    """[c]: the mean of the values in each cell of a number, in reference standard deviations."""
    mean: float
    deviation: float
    """Mean and standard deviation of a number, of values cut to ``limits``."""
    limits: tuple[float, float]
    slope: float
    """Rise of the mean of the first score if all values rise by one standard deviation."""
    cell_of: Any
    """A ``pandas.Index`` of the categories and the cell of each; None for numbers."""

    @classmethod
    def numeric(cls, name: str, values: Floats, units: Ints | None) -> FeatureReference:
        """Return the reference of a number.

        Args:
            name: Of the feature.
            values: [n], NaN where missing.
            units: [n], the day number of each row; None where rows have no time: they then count as
                independent, and nothing is known about differences between days.

        Raises:
            ValueError: there is no row, or ``units`` has another length.
        """
        import numpy as np

        values = np.asarray(values, dtype=np.float64)
        units = _checked(name, len(values), units)
        present = np.sort(values[~np.isnan(values)])
        edges, limits = np.empty(0), (0.0, 0.0)
        if len(present):
            near, limits = _ranges(present[np.isfinite(present)])
            at = np.sort(np.r_[TAIL, np.arange(1, CELLS) / CELLS, 1 - TAIL])
            quantiles = np.clip(np.quantile(present, at, method="inverted_cdf"), *near)
            edges = np.unique(np.r_[np.nextafter(near[0], -np.inf), quantiles, near[1]])
        cells = _cells(values, edges)
        counts = np.bincount(cells, minlength=len(edges) + 2)
        scores, counted = _number_scores(counts)
        cut = np.clip(present, *limits)
        mean, deviation = (float(cut.mean()), float(cut.std())) if len(cut) else (0.0, 0.0)
        kinds: tuple[Kind, ...] = ("location", "spread", "unseen", "tail", "missing")
        sums = _sums(cells, units, scores, counted)
        places = np.zeros(len(counts))
        if deviation:
            totals = np.bincount(
                cells, weights=np.clip(np.nan_to_num(values), *limits), minlength=len(counts)
            )
            filled = counts > 0
            places[filled] = (totals[filled] / counts[filled] - mean) / deviation
            places[0], places[-2] = places[1] - 1, places[-3] + 1
        return cls(
            name=name,
            kinds=kinds,
            labels=("",) * len(kinds),
            scores=scores,
            counted=counted,
            **sums,
            counts=counts,
            edges=edges,
            places=places,
            mean=mean,
            deviation=deviation,
            limits=limits,
            slope=_slope(present, deviation, edges, scores[0]),
            cell_of=None,
        )

    @classmethod
    def categorical(
        cls, name: str, values: Sequence[str | None] | NDArray[Any], units: Ints | None
    ) -> FeatureReference:
        """Return the reference of categories; see ``numeric``."""
        import numpy as np
        import pandas as pd

        units = _checked(name, len(values), units)
        codes, categories = pd.factorize(_objects(values))
        frequency = np.bincount(codes[codes >= 0], minlength=len(categories))
        order = np.argsort(-frequency, kind="stable")
        alone = int((frequency >= FREQUENT * len(codes)).sum())
        alone = min(alone, CATEGORIES)
        groups = GROUPS if len(categories) > alone else 0
        cell_of = np.array([alone + _group(category) for category in categories], dtype=np.int64)
        cell_of[order[:alone]] = np.arange(alone)
        seen = alone + groups
        cells = np.where(codes < 0, seen + 1, np.r_[cell_of, 0][codes])
        cells[_in_no_other_unit(codes, units)] = seen
        counts = np.bincount(cells, minlength=seen + 2)
        scores = np.eye(seen + 2)
        counted = np.ones((seen + 2, seen + 2))
        counted[:-1, -1] = 0.0
        categories_seen: list[Kind] = ["category"] * seen
        kinds: tuple[Kind, ...] = (*categories_seen, "unseen", "missing")
        labels = tuple(str(categories[i]) for i in order[:alone])
        labels += tuple(f"{GROUP} {i + 1}" for i in range(groups))
        return cls(
            name=name,
            kinds=kinds,
            labels=(*labels, "", ""),
            scores=scores,
            counted=counted,
            **_sums(cells, units, scores, counted),
            counts=counts,
            edges=None,
            places=np.zeros(seen + 2),
            mean=0.0,
            deviation=0.0,
            limits=(0.0, 0.0),
            slope=0.0,
            cell_of=(pd.Index(categories, dtype=object), cell_of),
        )

    @property
    def is_numeric(self) -> bool:
        return self.edges is not None

    @cached_property
    def totals(self) -> Floats:
        """[s]: rows that each score counts."""
        found: Floats = self.rows_by_unit.sum(axis=0)
        return found

    @cached_property
    def means(self) -> Floats:
        """[s]: of the scores; 0 where there is no row."""
        import numpy as np

        found: Floats = self.sums_by_unit.sum(axis=0) / np.maximum(self.totals, 1)
        return found

    @cached_property
    def variances(self) -> Floats:
        """[s]: of the scores, over rows."""
        import numpy as np

        found: Floats = np.maximum(
            self.squares / np.maximum(self.totals, 1) - self.means * self.means, 0.0
        )
        found[found < 1e-14] = 0.0
        return found

    @cached_property
    def is_share(self) -> NDArray[np.bool_]:
        import numpy as np

        return np.array([kind not in ("location", "spread") for kind in self.kinds])

    @cached_property
    def by_recurrence(self) -> NDArray[np.bool_]:
        """[s]: shares known by which rows of the reference recur; their variance is up to twice.

        Of n categories that occur once and m that occur twice, n + 2 m is the variance of the count
        of unseen ones (Good 1953), against at most n + m of one that is binomial.
        """
        import numpy as np

        grouped = [label.startswith(GROUP) for label in self.labels]
        unseen = [kind == "unseen" and not self.is_numeric for kind in self.kinds]
        return np.array([one or other for one, other in zip(grouped, unseen, strict=True)])

    @cached_property
    def is_curved(self) -> NDArray[np.bool_]:
        """[s]: of all but the location; a day that moves all values moves it by about a square."""
        import numpy as np

        return np.array([kind != "location" for kind in self.kinds])

    @cached_property
    def centred(self) -> Floats:
        """[s, c]: the scores less their means; 0 for cells that a score does not count."""
        found: Floats = (self.scores - self.means[:, None]) * self.counted
        return found

    def summarize(
        self, values: Floats | Sequence[str | None] | NDArray[Any], units: Ints
    ) -> UnitSummary:
        """Return the summary of rows in the order in which they were served.

        Args:
            values: [n], NaN or None where missing.
            units: [n], the day number of each row.

        Raises:
            ValueError: the lengths differ.
        """
        import numpy as np

        units = np.asarray(units, dtype=np.int64)
        if len(units) != len(values):
            raise ValueError(f"{self.name}: {len(values)} values and {len(units)} units")
        days, of_day = _days(units)
        counts = np.zeros((len(days), self.scores.shape[1]), dtype=np.int64)
        moments = np.zeros((len(days), 2))
        blocks = np.zeros((3, len(days), len(self.scores)))
        for start in range(0, len(units), CHUNK):
            part = slice(start, start + CHUNK)
            cells = (
                self._number_cells(values[part]) if self.is_numeric else self._cells(values[part])
            )
            day = of_day[part]
            width = self.scores.shape[1]
            counts += np.bincount(day * width + cells, minlength=counts.size).reshape(counts.shape)
            if self.is_numeric:
                cut = np.clip(np.asarray(values[part], dtype=np.float64), *self.limits)
                cut[cells == width - 1] = 0.0
                moments[:, 0] += np.bincount(day, weights=cut, minlength=len(days))
                moments[:, 1] += np.bincount(day, weights=cut * cut, minlength=len(days))
            self._add_blocks(blocks, cells, day)
        return UnitSummary(days, counts, moments, blocks)

    def summarize_counts(self, values: NDArray[Any], counts: Floats, unit: int = 0) -> UnitSummary:
        """Return the summary of rows of one unit, of which only the counts of values are known.

        Args:
            values: Distinct values [k].
            counts: How often each occurred [k].
            unit: Their day number.
        """
        import numpy as np

        one = self.summarize(values, np.arange(len(values)))
        times = np.asarray(counts)[:, None]
        return UnitSummary(
            np.array([unit], dtype=np.int64),
            (one.counts * times).sum(axis=0, keepdims=True).astype(np.int64),
            (one.moments * times).sum(axis=0, keepdims=True),
            np.zeros((3, 1, len(self.scores))),
        )

    def _number_cells(self, values: Any) -> Ints:
        import numpy as np

        if self.edges is None:
            raise ValueError(f"{self.name} is no number")
        return _cells(np.asarray(values, dtype=np.float64), self.edges)

    def _cells(self, values: Any) -> Ints:
        import numpy as np
        import pandas as pd

        codes, categories = pd.factorize(_objects(values))
        index, cell_of = self.cell_of
        found = index.get_indexer(pd.Index(categories, dtype=object))
        missing = self.scores.shape[1] - 1
        cells = np.where(found < 0, missing - 1, np.r_[cell_of, 0][found])
        result: Ints = np.r_[cells, missing][codes]
        return result

    def _add_blocks(self, blocks: Floats, cells: Ints, day: Ints) -> None:
        """Add the sums of whole blocks of consecutive rows that are of one unit."""
        import numpy as np

        n = len(cells) // BLOCK
        if not n:
            return
        of_block = day[: n * BLOCK].reshape(n, BLOCK)
        whole = (of_block[:, 0] == of_block[:, -1]) & (of_block.min(1) == of_block.max(1))
        days, width = blocks.shape[1], self.scores.shape[1]
        of = of_block[whole, 0]
        number = np.bincount(of, minlength=days)
        blocks[0] += number[:, None]
        inside = cells[: n * BLOCK].reshape(n, BLOCK)[whole]
        if self.is_numeric:
            for index, score in enumerate(self.centred):
                sums = score[inside].sum(axis=1)
                blocks[1, :, index] += np.bincount(of, weights=sums, minlength=days)
                blocks[2, :, index] += np.bincount(of, weights=sums * sums, minlength=days)
            return
        rows = np.arange(len(inside))[:, None] * width
        table = np.bincount((rows + inside).ravel(), minlength=len(inside) * width)
        sums = table.reshape(-1, width).astype(np.float64) @ self.centred.T
        if len(of):
            order = np.argsort(of, kind="stable")
            starts = np.flatnonzero(np.diff(of[order], prepend=-1))
            at = of[order][starts]
            blocks[1, at] += np.add.reduceat(sums[order], starts, axis=0)
            blocks[2, at] += np.add.reduceat((sums * sums)[order], starts, axis=0)


def _checked(name: str, rows: int, units: Ints | None) -> Ints | None:
    import numpy as np

    if not rows:
        raise ValueError(f"{name}: a reference needs at least one row")
    if units is None:
        return None
    found = np.asarray(units, dtype=np.int64)
    if len(found) != rows:
        raise ValueError(f"{name}: {rows} values and {len(found)} units")
    return found


def _group(category: object) -> int:
    return zlib.crc32(str(category).encode("utf-8", "surrogatepass")) % GROUPS


def _days(units: Ints) -> tuple[Ints, Ints]:
    """Return the distinct units, ascending, and the index of each row's [n]."""
    import numpy as np

    if not len(units):
        return units, units
    low, high = int(units.min()), int(units.max())
    if low == high:
        return np.array([low], dtype=np.int64), np.zeros(len(units), dtype=np.int64)
    if high - low > 4 * len(units) + 1000:
        days, of_day = np.unique(units, return_inverse=True)
        return days, of_day
    seen = np.bincount(units - low) > 0
    place = np.cumsum(seen) - 1
    return np.flatnonzero(seen) + low, place[units - low]


def _objects(values: Any) -> NDArray[Any]:
    """Return categories as objects [n] with None where they are missing."""
    import numpy as np

    if isinstance(values, np.ndarray) and values.dtype == object:
        return values
    found = np.empty(len(values), dtype=object)
    found[:] = list(values)
    return found


def _cells(values: Floats, edges: Floats) -> Ints:
    """Return the cell of each number: between edges, the upper included; the last if missing."""
    import numpy as np

    cells: Ints = np.searchsorted(edges, values)
    missing = np.isnan(values)
    if missing.any():
        cells[missing] = len(edges) + 1
    return cells


def _ranges(finite: Floats) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return between what a number is not unseen, and between what its value counts for means.

    Both are the middle 99 % of the reference with ``BEYOND`` times its width on either side; all of
    the reference instead where these are one value, as of a number that is nearly always 0. Beside
    a constant every other number is unseen, and its value counts up to ``BEYOND`` times that size.

    Args:
        finite: Ascending values.
    """
    import numpy as np

    if not len(finite):
        return (0.0, 0.0), (0.0, 0.0)
    low, high = np.quantile(finite, [0.005, 0.995], method="inverted_cdf")
    if low == high:
        low, high = finite[0], finite[-1]
    width = high - low
    near = (float(low - BEYOND * width), float(high + BEYOND * width))
    if width > 0:
        return near, near
    size = BEYOND * max(1.0, abs(low))
    return near, (float(low - size), float(high + size))


def _number_scores(counts: Ints) -> tuple[Floats, Floats]:
    """Return scores and which cells they count [5, c] of a number with these counts [c]."""
    import numpy as np

    inside = counts[:-1].astype(np.float64)
    total = max(inside.sum(), 1.0)
    below = np.cumsum(inside) - inside
    rank = (below + inside / 2) / total
    low, high = (below + inside) / total, 1 - below / total
    tail = np.zeros(len(inside))
    tail[[0, -1]] = 1.0
    tail[(low <= MOST_TAIL) | (high <= MOST_TAIL)] = 1.0
    unseen = np.zeros(len(inside))
    unseen[[0, -1]] = 1.0
    scores = np.zeros((5, len(counts)))
    scores[:4, :-1] = (
        _between_0_and_1(rank, inside),
        _between_0_and_1(np.abs(2 * rank - 1), inside),
        unseen,
        tail,
    )
    scores[4, -1] = 1.0
    counted = np.ones((5, len(counts)))
    counted[:4, -1] = 0.0
    return scores, counted


def _between_0_and_1(score: Floats, rows: Floats) -> Floats:
    """Return the score of each cell, 0 for the least and 1 for the largest that a row has."""
    import numpy as np

    seen = score[rows > 0]
    if not len(seen) or seen.max() == seen.min():
        return np.zeros(len(score))
    found: Floats = np.clip((score - seen.min()) / (seen.max() - seen.min()), 0.0, 1.0)
    return found


def _slope(present: Floats, deviation: float, edges: Floats, ranks: Floats) -> float:
    import numpy as np

    if not deviation:
        return 0.0
    step = 0.1 * deviation
    up, down = (ranks[np.searchsorted(edges, present + by)].mean() for by in (step, -step))
    return float(up - down) / 0.2


def _sums(
    cells: Ints,
    units: Ints | None,
    scores: Floats,
    counted: Floats,
) -> dict[str, Any]:
    """Return sums of the reference's rows."""
    import numpy as np

    days, of_day = (np.zeros(1, np.int64), np.zeros(len(cells), np.int64))
    if units is not None:
        days, of_day = _days(units)
    width = scores.shape[1]
    counts = np.bincount(of_day * width + cells, minlength=len(days) * width)
    by_cell = counts.reshape(len(days), width).astype(np.float64)
    sums = by_cell @ (scores * counted).T
    squares = by_cell.sum(axis=0) @ (scores * scores * counted).T
    return {
        "units": None if units is None else days,
        "rows_by_unit": by_cell @ counted.T,
        "sums_by_unit": sums,
        "squares": squares,
    }


def _in_no_other_unit(codes: Ints, units: Ints | None) -> NDArray[np.bool_]:
    """Return of which rows [n] no other unit has the category.

    What a later unit does with the probability with which one of the reference does it among the
    others, as Good (1953), "The population frequencies of species and the estimation of population
    parameters", Biometrika 40, counts species that were seen once.
    """
    import numpy as np

    units = np.arange(len(codes)) if units is None else units
    found = np.zeros(len(codes), dtype=bool)
    seen = codes >= 0
    if not seen.any():
        return found
    first = np.full(codes.max() + 1, np.iinfo(np.int64).max)
    last = np.full(codes.max() + 1, np.iinfo(np.int64).min)
    np.minimum.at(first, codes[seen], units[seen])
    np.maximum.at(last, codes[seen], units[seen])
    found[seen] = (first == last)[codes[seen]]
    return found
