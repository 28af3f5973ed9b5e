"""Reads labels that arrive after their predictions, and the keys by which they are joined."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ml_pipeline.config import LabelSource, Project, SqlSource
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError, nearest
from ml_pipeline.data.labels import comparable_labels, comparable_positive
from ml_pipeline.data.sources import read_source
from ml_pipeline.data.typed_columns import as_numbers, as_text, is_day

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.problem import Problem
    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]

NO_LABELS_KEY = "monitor.labels"
SEPARATOR = "\x1f"
"""Between the parts of a key."""
SHOWN = 3
"""Labels or keys that a message names."""


@dataclass(frozen=True)
class JoinKeys:
    """How served rows and labels get the same key.

    Attributes:
        by_request: by request id and the row's place in its request, else by ``columns``.
        time: the source's column with the problem's date, joined with the day of the request.
        columns: features of the log, each with the source's column.
        zone: of dates in the source, and of the day of a request.
    """

    by_request: bool
    time: str | None
    columns: tuple[tuple[str, str], ...]
    zone: ZoneInfo

    @classmethod
    def of(cls, section: LabelSource, problem: Problem) -> JoinKeys:
        """Return the keys that a project's section describes.

        Raises:
            UsageError: the time zone is unknown.
        """
        try:
            zone = ZoneInfo(section.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise UsageError(
                f"{NO_LABELS_KEY}.time_zone: unknown time zone '{section.time_zone}'",
                expected="a name of the IANA database, such as Asia/Kathmandu",
            ) from None
        time = section.keys.get(problem.time_column) if problem.time_column else None
        others = {name: column for name, column in section.keys.items() if column != time}
        return cls(section.request_id is not None, time, tuple(sorted(others.items())), zone)

    @property
    def scheme(self) -> str:
        """The keys as text: rows that waited by another scheme are never joined."""
        names = [name for name, _ in self.columns]
        return json.dumps([self.by_request, self.time is not None, names, self.zone.key])

    def local_days(self, times: Floats) -> list[str]:
        """Return the local day of moments in seconds since the epoch, as YYYY-MM-DD."""
        import numpy as np
        import pandas as pd

        moments = pd.to_datetime(np.asarray(times), unit="s", utc=True).tz_convert(self.zone)
        return list(moments.strftime("%Y-%m-%d"))


@dataclass(frozen=True)
class LabelTable:
    """The labels of a source, one for each key.

    Attributes:
        keys: unique [n].
        labels: as text [n]: ``1`` or ``0``, the class, or the number.
        days: of the keys as YYYY-MM-DD, where they have one.
        equal: rows that repeat a key with the same label; one of them counts.
        conflicting: keys with different labels, which are left out.
        wrong: rows whose label is none of the task, which are left out.
        unread: lines of the source that cannot be read as rows.
    """

    keys: pd.Index
    labels: NDArray[Any]
    days: NDArray[Any] | None
    equal: int = 0
    conflicting: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    unread: int = 0


def read_labels(
    section: LabelSource, join: JoinKeys, project: Project, problem: Problem, task: Task
) -> LabelTable:
    """Read the source of labels. Rows without a label are left out: it has not come yet.

    Raises:
        EnvironmentFault: the source cannot be read.
        UsageError: it has no column of that name, or the configuration of a database is wrong.
    """
    import numpy as np

    wanted = _wanted(section, join)
    text = {name for name in wanted if name != section.row}
    dates = {join.time} if join.time is not None else set()
    try:
        rows = read_source(section.source, project, text, dates)
    except Refused:  # an empty file: no label has come
        return _table(np.array([], dtype=object), np.array([], dtype=object), None)
    except UsageError as error:
        if isinstance(section.source, SqlSource):
            raise
        raise EnvironmentFault(
            f"{NO_LABELS_KEY}.source cannot be read: {error.fault}",
            expected=error.expected,
            hint=error.hint,
        ) from None
    frame = rows.frame
    for name in wanted:
        if name not in frame.columns:
            raise UsageError(
                f"{NO_LABELS_KEY}: the source has no column '{name}'",
                hint=nearest(name, [str(column) for column in frame.columns]),
            )
    labels, wrong = _as_text(frame[section.label], problem, task)
    known = np.array([label is not None for label in labels], dtype=bool)
    days = _days(frame[join.time], join.zone) if join.time is not None else None
    keys = _source_keys(frame, section, join, days)
    usable = known & np.array([key is not None for key in keys], dtype=bool)
    if days is not None:
        days = days[usable]
    found = _table(keys[usable], labels[usable], days)
    return LabelTable(
        found.keys,
        found.labels,
        found.days,
        found.equal,
        found.conflicting,
        wrong,
        len(rows.unread),
    )


def served_keys(
    join: JoinKeys,
    request_ids: Sequence[str],
    places: Sequence[int],
    times: Floats,
    columns: Sequence[Sequence[Any]],
) -> list[str | None]:
    """Return the keys of served rows; None for a row that lacks a value of its key.

    Args:
        join: the keys.
        request_ids: of the rows.
        places: of the rows within their requests.
        times: of the responses, in seconds since the epoch.
        columns: values of each of ``join.columns``, in their order.
    """
    if join.by_request:
        return [_request_key(one, place) for one, place in zip(request_ids, places, strict=True)]
    parts: list[Sequence[Any]] = [] if join.time is None else [join.local_days(times)]
    parts += columns
    return [_key(values) for values in zip(*parts, strict=True)]


def _wanted(section: LabelSource, join: JoinKeys) -> list[str]:
    names = [section.label]
    names += [name for name in (section.request_id, section.row, join.time) if name is not None]
    return names + [column for _, column in join.columns]


def _source_keys(
    frame: pd.DataFrame, section: LabelSource, join: JoinKeys, days: NDArray[Any] | None
) -> NDArray[Any]:
    import numpy as np

    if section.request_id is not None:
        ids = as_text(frame[section.request_id]).astype(object).to_numpy()
        places = np.zeros(len(frame))
        if section.row is not None:
            places = as_numbers(frame[section.row]).to_numpy()
        keys = [
            None if not isinstance(one, str) or place != place else _request_key(one, int(place))  # noqa: PLR0124  NaN
            for one, place in zip(ids, places, strict=True)
        ]
    else:
        parts = [] if days is None else [days]
        parts += [as_text(frame[name]).astype(object).to_numpy() for _, name in join.columns]
        keys = [_key(values) for values in zip(*parts, strict=True)]
    found = np.empty(len(keys), dtype=object)
    found[:] = keys
    return found


def _request_key(request_id: str, place: int) -> str:
    return f"{request_id}{SEPARATOR}{place}"


def _key(values: Sequence[Any]) -> str | None:
    parts = [key_text(value) for value in values]
    return None if None in parts else SEPARATOR.join(map(str, parts))


def key_text(value: Any) -> str | None:
    """Return a value as the source writes it: whole numbers without a decimal point."""
    if isinstance(value, str):
        return value.strip().removesuffix(".0") or None
    if value is None or value != value:  # noqa: PLR0124  NaN
        return None
    return f"{value:.0f}" if float(value).is_integer() else repr(float(value))


def _table(keys: NDArray[Any], labels: NDArray[Any], days: NDArray[Any] | None) -> LabelTable:
    """Return one label a key; keys with different labels are left out."""
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame({"key": keys, "label": labels}, dtype=object)
    distinct = frame.drop_duplicates()
    twice = distinct["key"].duplicated(keep=False)
    conflicting = tuple(dict.fromkeys(distinct.loc[twice, "key"]))
    kept = distinct.index[~twice].to_numpy()
    return LabelTable(
        pd.Index(keys[kept], dtype=object),
        labels[kept],
        None if days is None else np.asarray(days[kept], dtype=object),
        equal=len(frame) - len(distinct),
        conflicting=conflicting,
    )


def _days(column: pd.Series, zone: ZoneInfo) -> NDArray[Any]:
    """Return the local day of dates and moments as YYYY-MM-DD, None for what is neither."""
    import numpy as np
    import pandas as pd

    codes, distinct = pd.factorize(column)
    days = np.array([*(_day(value, zone) for value in distinct), None], dtype=object)
    found: NDArray[Any] = days[codes]
    return found


def _day(value: Any, zone: ZoneInfo) -> str | None:
    """Return the local day of a value. A moment without a zone is local."""
    if isinstance(value, str):
        if is_day(value[:10]) and len(value) == len("2024-01-05"):
            return value
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        moment = value if value.tzinfo is None else value.astimezone(zone)
        return moment.date().isoformat()
    return value.isoformat() if isinstance(value, date) else None


def _as_text(
    column: pd.Series, problem: Problem, task: Task
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return labels as text, None where there is none, and those that are none of the task."""
    import numpy as np

    missing = column.isna().to_numpy() | (column.astype("str").str.strip() == "").to_numpy()
    labels = np.full(len(column), None, dtype=object)
    if task.objective.kind == "multiclass":
        words = comparable_labels(column, "")
        labels[~missing] = [str(word) for word in words[~missing]]
        return labels, ()
    if task.objective.kind == "regression":
        numbers = as_numbers(column).to_numpy()
        usable = ~missing & np.isfinite(numbers)
        labels[usable] = [repr(float(number)) for number in numbers[usable]]
    else:
        ones, usable = _binary(column, getattr(problem.options, "positive", 1))
        usable &= ~missing
        labels[usable] = np.where(ones[usable], "1", "0")
    wrong = [str(value)[:40] for value in column[~usable & ~missing]]
    return labels, tuple(wrong)


def _binary(column: pd.Series, positive: bool | str | float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return which labels are ``positive``, and which are that or the one other value.

    Of several other values none is known to be the other one, unless one is 0 or false. The other
    value of a number is a number.
    """
    import numpy as np

    labels = comparable_labels(column, positive)
    wanted = comparable_positive(positive)
    ones = np.array([value == wanted for value in labels], dtype=bool)
    others = set(labels[~ones].dropna())
    if isinstance(wanted, int | float):
        others = {value for value in others if isinstance(value, int | float)}
    zero = next((value for value in others if value in (0, "0", "false")), None)
    if zero is None and len(others) == 1:
        zero = next(iter(others))
    zeros = np.array([zero is not None and value == zero for value in labels], dtype=bool)
    return ones, ones | zeros
