"""What a test of drift keeps of a feature's rows: sums per unit, however many rows there were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

ARRAYS = ("units", "counts", "moments", "blocks")


@dataclass(frozen=True)
class UnitSummary:
    """Sums of one feature's rows per unit; those of a ``FeatureReference``'s cells and scores.

    ``units`` [u] are ascending day numbers. ``counts`` [u, cells] are rows in each cell.
    ``moments`` [u, 2] are the sums of the values and of their squares. ``blocks`` [3, u, scores]
    are, over blocks of consecutive rows of a unit, their number, the sum of their centred scores,
    and the sum of the squares of those sums: what tells whether neighbouring rows are alike.
    """

    units: Ints
    counts: Ints
    moments: Floats
    blocks: Floats

    @property
    def rows(self) -> int:
        return int(self.counts.sum())

    def merge(self, other: UnitSummary) -> UnitSummary:
        """Return the summary of the rows of both.

        Raises:
            ValueError: they are of different features.
        """
        import numpy as np

        if (self.counts.shape[1], self.blocks.shape[2]) != (
            other.counts.shape[1],
            other.blocks.shape[2],
        ):
            raise ValueError(
                f"summaries of {self.counts.shape[1]} and {other.counts.shape[1]} cells are of "
                "different features"
            )
        units = np.union1d(self.units, other.units)
        counts = np.zeros((len(units), self.counts.shape[1]), dtype=np.int64)
        moments = np.zeros((len(units), 2))
        blocks = np.zeros((3, len(units), self.blocks.shape[2]))
        for part in (self, other):
            at = np.searchsorted(units, part.units)
            counts[at] += part.counts
            moments[at] += part.moments
            blocks[:, at] += part.blocks
        return UnitSummary(units, counts, moments, blocks)

    def between(self, first: int, last: int) -> UnitSummary:
        """Return the summary of the units from ``first`` to ``last``, both included."""
        inside = (self.units >= first) & (self.units <= last)
        return UnitSummary(
            self.units[inside], self.counts[inside], self.moments[inside], self.blocks[:, inside]
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> UnitSummary:
        """Return the summary that ``to_arrays`` gave.

        Raises:
            ValueError: an array is missing, or its shape does not fit the others.
        """
        import numpy as np

        missing = [name for name in ARRAYS if name not in arrays]
        if missing:
            raise ValueError(f"a summary without {', '.join(missing)}")
        units, counts = (np.asarray(arrays[name], dtype=np.int64) for name in ARRAYS[:2])
        moments, blocks = (np.asarray(arrays[name], dtype=np.float64) for name in ARRAYS[2:])
        n = len(units)
        if (
            counts.ndim != 2
            or len(counts) != n
            or moments.shape != (n, 2)
            or blocks.ndim != 3
            or blocks.shape[:2] != (3, n)
        ):
            raise ValueError(
                f"a summary of {n} units with arrays of shapes {counts.shape}, {moments.shape} "
                f"and {blocks.shape}"
            )
        return cls(units, counts, moments, blocks)
