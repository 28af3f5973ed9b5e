"""Split rows into training, validation and holdout: by day with an embargo, or by a hash.

Rows of one day are correlated, so a day is never cut. Between two parts lies an embargo of the
label's horizon. A row whose label is only known on a day of the next part (its entity was not
traded in between) is purged into the embargo as well (Lopez de Prado, Advances in Financial
Machine Learning, 2018, chapter 7).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.training.training_record import Cutoffs

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.config import SplitSection
    from ml_pipeline.training.estimators.base import Vector

Part = Literal["train", "validation", "embargo", "holdout", "unlabelled"]
PARTS: tuple[Part, ...] = ("train", "validation", "embargo", "holdout", "unlabelled")

Rows = npt.NDArray[np.int64]
"""Positions of rows, rising."""


@dataclass(frozen=True)
class Fold:
    """Rows to fit on, to stop early on, and the later ones to score."""

    train: Rows
    validation: Rows
    test: Rows


@dataclass(frozen=True)
class Split:
    """The part of every row, and the folds that the rows before the holdout allow."""

    method: Literal["time", "hash"]
    part: npt.NDArray[np.str_]
    folds: tuple[Fold, ...]
    cutoffs: Cutoffs
    detail: dict[str, Any]

    def rows(self, part: Part) -> Rows:
        return np.flatnonzero(self.part == part)

    def counts(self) -> dict[str, int]:
        return {part: int((self.part == part).sum()) for part in PARTS}


def split_by_time(
    keys: pd.DataFrame, label: Vector, section: SplitSection, horizon: int, *, quick: bool = False
) -> Split:
    """Split by the days that have labels: train, embargo, validation, embargo, holdout.

    Args:
        keys: columns ``time`` (datetime64 or numbers) and ``entity``.
        label: NaN where there is none.
        section: how many days each part has.
        horizon: days that a label looks ahead.
        quick: take the section's quick sizes, and make no folds.

    Raises:
        Refused: there are fewer days than the parts need.
    """
    holdout = section.quick_holdout_days if quick else section.holdout_days
    validation = section.quick_validation_days if quick else section.validation_days
    labelled = ~np.isnan(label)
    day = days_of(keys["time"])
    days = np.unique(day[labelled])
    needed = holdout + validation + 2 * horizon + 1
    if len(days) < needed:
        names = (
            ("quick_holdout_days", "quick_validation_days")
            if quick
            else (
                "holdout_days",
                "validation_days",
            )
        )
        raise Refused(
            f"{len(days)} dates have labels",
            expected=f"at least {needed}: {holdout} to hold out, {validation} to validate, "
            f"{2 * horizon} of embargo and 1 to train on",
            hint=f"bring more dates or lower split.{names[0]} and split.{names[1]}",
        )
    axis = _Axis(
        day=np.searchsorted(days, day),
        known=_known_on(keys, day, days, horizon),
        labelled=labelled,
        horizon=horizon,
        validation=validation,
    )
    part = np.full(len(label), "embargo", dtype="<U10")
    part[~labelled] = "unlabelled"
    start = len(days) - holdout
    part[labelled & (axis.day >= start)] = "holdout"
    train, watched = axis.before(start)
    part[train], part[watched] = "train", "validation"
    folds = () if quick else axis.folds(start - horizon, section)
    text = [str(value) for value in days]
    return Split(
        method="time",
        part=part,
        folds=folds,
        cutoffs=Cutoffs(
            train_end=text[start - horizon - validation - horizon - 1],
            validation_end=text[start - horizon - 1],
            holdout_start=text[start],
            holdout_end=text[-1],
        ),
        detail={
            "days": len(days),
            "holdout_days": holdout,
            "validation_days": validation,
            "embargo_days": horizon,
        },
    )


@dataclass(frozen=True)
class _Axis:
    """Every row on the axis of days: its own, and the one on which its label is known."""

    day: Rows
    known: Rows
    labelled: npt.NDArray[np.bool_]
    horizon: int
    validation: int

    def before(self, end: int) -> tuple[Rows, Rows]:
        """Return the training and the validation rows that go before day ``end``."""
        stop = end - self.horizon
        begin = stop - self.validation
        return self._rows(0, begin - self.horizon, begin), self._rows(begin, stop, end)

    def folds(self, stop: int, section: SplitSection) -> tuple[Fold, ...]:
        """Return the walk-forward folds, oldest first, whose windows end with day ``stop``."""
        folds = []
        for back in range(section.folds, 0, -1):
            begin = stop - back * section.fold_days
            train, validation = self.before(begin)
            test = self._rows(begin, begin + section.fold_days, stop + self.horizon)
            if len(train) and len(validation) and len(test):
                folds.append(Fold(train, validation, test))
        return tuple(folds)

    def _rows(self, begin: int, stop: int, next_part: int) -> Rows:
        inside = self.labelled & (self.day >= begin) & (self.day < stop)
        if self.horizon:
            inside &= self.known < next_part
        return np.flatnonzero(inside)


def split_by_hash(
    frame: pd.DataFrame,
    label: Vector,
    section: SplitSection,
    cluster: str | None = None,
    columns: Collection[str] | None = None,
) -> Split:
    """Split rows that have no time by a hash of their content, or of their cluster.

    A row keeps its part when rows are added or reordered. Equal rows are numbered and spread over
    the parts, or a table of few distinct rows would be split by what the rows say. The rows of a
    cluster share a part, since they are correlated.

    Args:
        frame: the clean rows, in the order of ``label``.
        label: NaN where there is none.
        section: the shares of holdout and validation.
        cluster: the column that binds rows together; a row without a value there stands alone.
        columns: those whose content is hashed; None hashes all.
    """
    labelled = ~np.isnan(label)
    hashed = sorted(map(str, frame.columns if columns is None else columns))
    digest = numbered(row_hashes(frame[hashed]))
    if cluster is not None:
        bound = frame[cluster].notna().to_numpy()
        digest[bound] = row_hashes(frame[[cluster]])[bound]
    place = shares(digest, salt=0)
    part = np.full(len(label), "train", dtype="<U10")
    part[place < section.holdout_share + section.validation_share] = "validation"
    part[place < section.holdout_share] = "holdout"
    part[~labelled] = "unlabelled"
    return Split(
        method="hash",
        part=part,
        folds=_hash_folds(digest, part, section),
        cutoffs=Cutoffs(),
        detail={
            "holdout_share": section.holdout_share,
            "validation_share": section.validation_share,
            "hash_of": cluster or "row",
            "columns": hashed,
        },
    )


def row_hashes(frame: pd.DataFrame) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of each row's content, the same for any order of rows and columns."""
    import pandas as pd

    total = np.zeros(len(frame), dtype=np.uint64)
    for name in sorted(str(column) for column in frame.columns):
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column.dtype):
            plain = column.astype("float64") + 0.0
        else:
            plain = column.astype("object").where(column.notna(), "").map(str).astype("object")
        values = pd.util.hash_pandas_object(plain, index=False).to_numpy(dtype=np.uint64)
        total = _mix(np.asarray(total * np.uint64(31) + values, dtype=np.uint64))
    return total


def numbered(digest: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Give every further copy of a hash a hash of its own: the first copy, the second, ..."""
    import pandas as pd

    count = pd.Series(digest).groupby(digest).cumcount()
    copy = np.asarray(count.to_numpy(), dtype=np.uint64)
    return np.where(copy > 0, _mix(digest ^ _mix(copy)), digest)


def shares(digest: npt.NDArray[np.uint64], salt: int) -> Vector:
    """Spread hashes evenly over [0, 1); another salt gives another, independent order."""
    salted = digest ^ _mix(np.full(1, salt + 1, dtype=np.uint64))
    return np.asarray(_mix(salted) / 2.0**64)


def require_folds(split: Split, section: SplitSection, key: str) -> tuple[Fold, ...]:
    """Return the folds, as many as ``split.folds``, for the choice that ``key`` configures.

    Raises:
        UsageError: ``split.folds`` is 0.
        Refused: there are fewer days than they need.
    """
    if section.folds == 0:
        raise UsageError(f"{key} chooses by walk-forward folds", expected="split.folds over 0")
    if len(split.folds) < section.folds:
        raise Refused(
            f"the days before the holdout allow {len(split.folds)} walk-forward folds",
            expected=f"{section.folds} of {section.fold_days} days each",
            hint="lower split.folds, split.fold_days or split.validation_days",
        )
    return split.folds


def _hash_folds(
    digest: npt.NDArray[np.uint64], part: npt.NDArray[np.str_], section: SplitSection
) -> tuple[Fold, ...]:
    usable = (part == "train") | (part == "validation")
    count = max(section.folds, 2)
    fold = np.floor(shares(digest, salt=1) * count)
    watched = shares(digest, salt=2) < section.validation_share
    folds = []
    for number in range(section.folds):
        rest = usable & (fold != number)
        rows = (rest & ~watched, rest & watched, usable & (fold == number))
        if all(mask.any() for mask in rows):
            folds.append(Fold(*(np.flatnonzero(mask) for mask in rows)))
    return tuple(folds)


def days_of(time: pd.Series) -> npt.NDArray[Any]:
    """Return the day of each row; times that are plain numbers count as days."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(time.dtype):
        return np.asarray(time.to_numpy(dtype="datetime64[D]"))
    return time.to_numpy()


def _known_on(
    keys: pd.DataFrame, day: npt.NDArray[Any], days: npt.NDArray[Any], horizon: int
) -> Rows:
    """Return the day on which each label is known: that of the entity's ``horizon``-th next row."""
    import pandas as pd

    own = np.searchsorted(days, day)
    table = pd.DataFrame({"entity": keys["entity"].to_numpy(), "day": own})
    order = np.argsort(own, kind="stable")
    later = table.iloc[order].groupby("entity", sort=False)["day"].shift(-horizon)
    known = own + horizon
    known[order] = later.fillna(pd.Series(known[order], index=later.index)).to_numpy()
    return np.maximum(known, own + horizon)


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
