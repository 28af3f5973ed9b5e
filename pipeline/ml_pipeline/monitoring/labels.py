"""Joins late labels to the rows that were served, each row once.

``HOME/monitor/ENVIRONMENT`` holds two kinds of files, each written by one look, whose number is in
its name: ``pending-N.parquet`` has all rows that waited for their label after look N, and
``labelled-N.parquet`` those whose label came in look N, or had not come in time (no label). A file
counts once ``state.json`` names its look or a later one; files of later looks are remains of a
killed look and are removed. So no row is lost or counted twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import LabelSource, Project
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.monitoring.label_source import (
    SEPARATOR,
    SHOWN,
    JoinKeys,
    LabelTable,
    read_labels,
    served_keys,
)
from ml_pipeline.tasks.base import values_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from ml_pipeline.monitoring.served_rows import ServedRows
    from ml_pipeline.problem import Problem
    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]

DAY = 86_400.0
KEPT_DAYS = 64
"""Days of labelled rows that are kept, beyond the delay of labels: the longest window."""
MAX_MISSING = 0.1
"""Share of the rows that are due without a label above which realised performance is not known."""
SEGMENT = re.compile(r"(pending|labelled|arrived)-(\d+)\.parquet")
GROUP, OTHER = "group:", "prediction:"
"""Prefixes of columns: the values of a feature, and the predictions of a replaced version."""
SCHEME = b"ml_pipeline.join"


@dataclass
class Join:
    """What joining found.

    Attributes:
        labelled: rows whose label came in this look.
        waiting: rows that wait for their label.
        missing: rows, of those that are kept, whose label did not come within the delay.
        due: rows that are kept and whose label came or should have come.
        newest_labelled: time of the newest labelled row, of those that are kept.
        missing_days: the days with rows without a label, of those that are kept.
        unknown: labels of requests that are not in the log.
        late: labels that came after the delay; they are left out.
        changed: keys whose label differs from the one that was joined before, which stays.
        unjoinable: new rows without a key, with the reason.
        other_keys: rows that waited by other keys than the present ones, which are left out.
        first_waiting: time of the oldest row that waits.
        labels: what the source holds.
    """

    labels: LabelTable
    labelled: int = 0
    waiting: int = 0
    missing: int = 0
    due: int = 0
    newest_labelled: float = -math.inf
    missing_days: set[int] = field(default_factory=set)
    unknown: int = 0
    late: int = 0
    changed: list[str] = field(default_factory=list)
    unjoinable: int = 0
    why_unjoinable: str = ""
    other_keys: int = 0
    first_waiting: float | None = None

    @property
    def has_enough(self) -> bool:
        """Whether so many labels came that performance by them says something of all rows."""
        return self.missing <= MAX_MISSING * self.due

    @property
    def missing_since(self) -> date | None:
        """The first day from which on rows were due and none of them got a label."""
        days = [day for day in self.missing_days if day * DAY > self.newest_labelled]
        return datetime.fromtimestamp(min(days) * DAY, UTC).date() if days else None

    def to_json(self) -> dict[str, Any]:
        return {
            "labelled": self.labelled,
            "waiting": self.waiting,
            "missing": self.missing,
            "due": self.due,
            "unknown": self.unknown,
            "late": self.late,
            "equal": self.labels.equal,
            "conflicting": len(self.labels.conflicting),
            "changed": len(self.changed),
            "wrong": len(self.labels.wrong),
            "unread": self.labels.unread,
            "unjoinable": self.unjoinable,
        }

    def check(self, delay_days: float) -> Check:
        """Return the check ``labels``: inconclusive where labels are missing or cannot be used."""
        faults = self._faults(delay_days)
        notes = self._notes()
        return Check(
            name="labels",
            verdict=Verdict.INCONCLUSIVE if faults else Verdict.PASS,
            observed=f"{self.labelled:,} joined, {self.waiting:,} rows wait, "
            f"{self.missing:,} of {self.due:,} missing",
            expected=f"a label within {delay_days:g} days for {1 - MAX_MISSING:.0%} of rows",
            why="; ".join([*faults, *notes]),
        )

    def _faults(self, delay_days: float) -> list[str]:
        faults = []
        if not self.has_enough:
            since = f", none since {self.missing_since}" if self.missing_since else ""
            faults.append(
                f"{self.missing:,} of {self.due:,} rows got no label within {delay_days:g} "
                f"days{since}"
            )
        if self.labels.wrong:
            faults.append(
                f"{len(self.labels.wrong):,} labels are none of the task: "
                f"{_shown(self.labels.wrong)}"
            )
        if self.labels.conflicting:
            faults.append(
                f"{len(self.labels.conflicting):,} keys have different labels and are left out: "
                f"{_shown(self.labels.conflicting)}"
            )
        if self.changed:
            faults.append(
                f"{len(self.changed):,} labels changed after they were joined; the first stays: "
                f"{_shown(self.changed)}"
            )
        if self.unjoinable:
            faults.append(f"{self.unjoinable:,} rows cannot be joined: {self.why_unjoinable}")
        if self.labels.unread:
            faults.append(f"{self.labels.unread:,} lines of the source cannot be read")
        return faults

    def _notes(self) -> list[str]:
        notes = []
        if self.unknown:
            notes.append(f"{self.unknown:,} labels are of requests that are not in the log")
        if self.late:
            notes.append(f"{self.late:,} labels came too late and are left out")
        if self.labels.equal:
            notes.append(f"{self.labels.equal:,} labels are in the source twice")
        if self.other_keys:
            notes.append(f"{self.other_keys:,} rows waited by other keys and are left out")
        return notes


class PendingRows:
    """The rows that wait for labels, in the folder of an environment.

    Args:
        folder: of the environment.
        look: the last look that counts; 0 for none.
        section: where labels come from.
        problem: names the keys.
        group_by: categorical features whose values are kept.
    """

    def __init__(
        self,
        folder: Path,
        look: int,
        section: LabelSource,
        problem: Problem,
        group_by: Sequence[str] = (),
    ) -> None:
        self.folder, self.look, self.section = folder, look, section
        self._problem = problem
        self._keys = JoinKeys.of(section, problem)
        self._group_by = tuple(group_by)
        self._unjoinable, self._why = 0, ""
        self._arrived: list[Path] = []
        self._others: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path, kind, number in segments(folder):
            if number > look or kind == "arrived":
                path.unlink(missing_ok=True)

    def add(self, rows: ServedRows, others: Mapping[str, Floats] | None = None) -> None:
        """Add rows of one version; they are on disk when it returns.

        Args:
            rows: as the log has them.
            others: what other versions predict for them, by the digests of their bundles.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        keys = self._served_keys(rows)
        known = np.array([key is not None for key in keys], dtype=bool)
        self._unjoinable += int((~known).sum())
        if not known.any():
            return
        columns: dict[str, Any] = {
            "key": pa.array(keys, pa.string()),
            "request_id": pa.array(rows.request_ids, pa.string()),
            "row": pa.array(np.asarray(rows.places, dtype=np.int32)),
            "time": pa.array(np.asarray(rows.times, dtype=np.float64)),
            "digest": pa.array([rows.digest] * len(keys), pa.string()),
            "version": pa.array([rows.version] * len(keys), pa.int32()),
            "prediction": _as_lists(rows.predictions),
        }
        for name in self._group_by:
            values = _column(rows, name)
            texts = [value if isinstance(value, str) else None for value in values or ()]
            columns[GROUP + name] = pa.array(texts or [None] * len(keys), pa.string())
        for digest, predictions in sorted((others or {}).items()):
            columns[OTHER + digest] = _as_lists(predictions)
            self._others.add(OTHER + digest)
        table = pa.table(columns).filter(pa.array(known))
        path = self.folder / f"arrived-{len(self._arrived)}.parquet"
        pq.write_table(table, path)
        self._arrived.append(path)

    def join(self, project: Project, task: Task, now: datetime) -> Join:
        """Join the labels that have come; write the files of this look.

        Args:
            project: of the configuration.
            task: of the model that serves.
            now: with a time zone.

        Raises:
            EnvironmentFault: the source of labels or a file of the folder cannot be read.
            UsageError: the source lacks a column.
        """
        import numpy as np
        import pyarrow as pa

        labels = read_labels(self.section, self._keys, project, self._problem, task)
        join = Join(labels, unjoinable=self._unjoinable, why_unjoinable=self._why)
        used = np.zeros(len(labels.keys), dtype=bool)
        oldest = np.array([np.inf])
        self._scan_labelled(join, used, oldest, now)
        waiting = self._schema()
        labelled = waiting.append(pa.field("label", pa.string()))
        with ExitStack() as stack:
            writers = {
                kind: stack.enter_context(
                    _segment_writer(self.folder / f"{kind}-{self.look + 1}.parquet", schema)
                )
                for kind, schema in (("pending", waiting), ("labelled", labelled))
            }
            for table in self._waiting(join):
                _split(table, join, used, oldest, now, self.section.delay_days, writers)
        for path in self._arrived:
            path.unlink()
        self._arrived = []
        join.unknown = self._unknown(labels, used, float(oldest[0]))
        return join

    def remove_old(self, now: datetime) -> None:
        """Remove the files that this look replaced; call it once ``state.json`` names the look."""
        first = now.timestamp() - (KEPT_DAYS + self.section.delay_days) * DAY
        for path, kind, number in segments(self.folder):
            if (kind == "pending" and number <= self.look) or (
                kind == "labelled" and number <= self.look and _newest_time(path) < first
            ):
                path.unlink(missing_ok=True)

    def _served_keys(self, rows: ServedRows) -> list[str | None]:
        columns: list[Sequence[Any]] = []
        for name, _ in self._keys.columns:
            values = _column(rows, name)
            if values is None:
                self._why = (
                    f"the log does not have the feature '{name}' of monitor.labels.keys; join by "
                    "request_id, or check serving.redact"
                )
                return [None] * len(rows.request_ids)
            columns.append(values)
        places = [int(place) for place in rows.places]
        keys = served_keys(self._keys, rows.request_ids, places, rows.times, columns)
        if not self._keys.by_request or self.section.row is not None or not any(places):
            return keys
        self._why = "their request has several rows: set monitor.labels.row"
        several = {one for one, place in zip(rows.request_ids, places, strict=True) if place > 0}
        return [
            None if one in several else key for one, key in zip(rows.request_ids, keys, strict=True)
        ]

    def _waiting(self, join: Join) -> Iterator[pa.Table]:
        """Yield the rows that waited after the last look, then those that came since."""
        found = [
            (number, path)
            for path, kind, number in segments(self.folder)
            if kind == "pending" and number <= self.look
        ]
        scheme = self._keys.scheme.encode()
        paths = [path for _, path in sorted(found)[-1:]]
        for path in [*paths, *self._arrived]:
            with reading(path) as file:
                metadata = file.schema_arrow.metadata or {}
                if path in paths and metadata.get(SCHEME) != scheme:
                    join.other_keys += file.metadata.num_rows
                    continue
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group)

    def _schema(self) -> pa.Schema:
        """Return the columns of the files of this look: those of all rows that wait."""
        import pyarrow as pa

        others = {*self._others}
        for path, kind, number in segments(self.folder):
            if kind == "pending" and number <= self.look:
                with reading(path) as file:
                    others |= {name for name in file.schema_arrow.names if name.startswith(OTHER)}
        lists = pa.list_(pa.float64())
        fields = [
            ("key", pa.string()),
            ("request_id", pa.string()),
            ("row", pa.int32()),
            ("time", pa.float64()),
            ("digest", pa.string()),
            ("version", pa.int32()),
            ("prediction", lists),
            *((GROUP + name, pa.string()) for name in self._group_by),
            *((name, lists) for name in sorted(others)),
        ]
        return pa.schema(fields, metadata={SCHEME: self._keys.scheme.encode()})

    def _scan_labelled(
        self, join: Join, used: NDArray[np.bool_], oldest: Floats, now: datetime
    ) -> None:
        """Compare the source with what was joined before, and count what is missing."""
        import numpy as np

        first = now.timestamp() - (KEPT_DAYS + self.section.delay_days) * DAY
        for path in labelled_files(self.folder, self.look):
            with reading(path) as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group, columns=["key", "time", "label"])
                    times = table["time"].to_numpy()
                    before = np.array(table["label"].to_pylist(), dtype=object)
                    places = _places(join.labels, table)
                    hit = places >= 0
                    used[places[hit]] = True
                    labelled = np.array([label is not None for label in before], dtype=bool)
                    came = np.full(len(before), None, dtype=object)
                    came[hit] = join.labels.labels[places[hit]]
                    join.late += int((hit & ~labelled).sum())
                    differ = hit & labelled & (came != before)
                    join.changed += [str(key.as_py()) for key in table["key"].filter(_mask(differ))]
                    recent = times >= first
                    _count_due(join, times[recent], labelled[recent])
                    if len(times):
                        oldest[0] = min(oldest[0], float(times.min()))

    def _unknown(self, labels: LabelTable, used: NDArray[np.bool_], oldest: float) -> int:
        """Return how many labels belong to no request; those before the oldest row do not count."""
        import numpy as np

        unused = ~used
        if labels.days is not None:
            if not np.isfinite(oldest):
                return 0
            first = self._keys.local_days(np.array([oldest]))[0]
            unused &= np.array([day >= first for day in labels.days], dtype=bool)
        return int(unused.sum())


@contextmanager
def _segment_writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that writes rows to a file, which takes its name when all are written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with workdir.atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:

        def write(table: pa.Table) -> None:
            if not table.num_rows:
                return
            columns = [
                table[one.name].cast(one.type)
                if one.name in table.column_names
                else pa.nulls(table.num_rows, one.type)
                for one in schema
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))

        yield write


def segments(folder: Path) -> list[tuple[Path, str, int]]:
    """Return the files of rows in a folder, each with its kind and the number of its look."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else ()
    matches = [(path, SEGMENT.fullmatch(path.name)) for path in paths]
    return [(path, match[1], int(match[2])) for path, match in matches if match]


def labelled_files(folder: Path, look: int) -> list[Path]:
    """Return the files with labelled rows up to a look, oldest first."""
    found = [
        (number, path)
        for path, kind, number in segments(folder)
        if kind == "labelled" and number <= look
    ]
    return [path for _, path in sorted(found)]


def _split(
    table: pa.Table,
    join: Join,
    used: NDArray[np.bool_],
    oldest: Floats,
    now: datetime,
    delay_days: float,
    writers: Mapping[str, Callable[[pa.Table], None]],
) -> None:
    """Write rows to the file of those that wait, or of those whose label came or is missing."""
    import numpy as np
    import pyarrow as pa

    times = table["time"].to_numpy()
    places = _places(join.labels, table)
    came = places >= 0
    used[places[came]] = True
    missing = ~came & (times + delay_days * DAY < now.timestamp())
    settled = came | missing
    labels = np.full(len(places), None, dtype=object)
    labels[came] = join.labels.labels[places[came]]
    done = table.filter(_mask(settled))
    writers["labelled"](
        done.append_column("label", pa.array(labels[settled].tolist(), pa.string()))
    )
    writers["pending"](table.filter(_mask(~settled)))
    join.labelled += int(came.sum())
    _count_due(join, times[settled], came[settled])
    waiting = times[~settled]
    join.waiting += len(waiting)
    if len(waiting):
        join.first_waiting = min(join.first_waiting or np.inf, float(waiting.min()))
    if len(times):
        oldest[0] = min(oldest[0], float(times.min()))


def _places(labels: LabelTable, table: pa.Table) -> NDArray[Any]:
    """Return each row's place in the source's labels [n]; -1 where it has none."""
    import pandas as pd

    return labels.keys.get_indexer(pd.Index(table["key"].to_pylist(), dtype=object))


def _count_due(join: Join, times: Floats, labelled: NDArray[np.bool_]) -> None:
    join.due += len(times)
    join.missing += int((~labelled).sum())
    if labelled.any():
        join.newest_labelled = max(join.newest_labelled, float(times[labelled].max()))
    join.missing_days |= {int(time // DAY) for time in times[~labelled]}


def _mask(chosen: NDArray[np.bool_]) -> Any:
    import pyarrow as pa

    return pa.array(chosen)


def _column(rows: ServedRows, name: str) -> list[Any] | None:
    """Return a feature's values; None where the log does not have them, or only their hashes."""
    if name not in rows.features or name in rows.hashed:
        return None
    return list(rows.columns[rows.features.index(name)])


def _as_lists(predictions: Floats) -> Any:
    import pyarrow as pa

    values = [[*value] if isinstance(value, tuple) else [value] for value in values_of(predictions)]
    return pa.array(values, pa.list_(pa.float64()))


def reading(path: Path) -> Any:
    """Open a file of rows, for a ``with`` block.

    Raises:
        EnvironmentFault: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise EnvironmentFault(
            f"{path} cannot be read: {error}",
            expected="rows that wait for labels, as 'ml-pipeline monitor' wrote them",
            hint="restore it from a backup, or remove it: its rows are lost then",
        ) from None


def _newest_time(path: Path) -> float:
    with reading(path) as file:
        place = file.schema_arrow.names.index("time")
        found = [
            file.metadata.row_group(group).column(place).statistics
            for group in range(file.num_row_groups)
        ]
        return max((float(one.max) for one in found if one is not None), default=-math.inf)


def _shown(values: Sequence[str]) -> str:
    shown = ", ".join(repr(value.replace(SEPARATOR, " ")) for value in values[:SHOWN])
    return shown + (f" and {len(values) - SHOWN:,} more" if len(values) > SHOWN else "")
