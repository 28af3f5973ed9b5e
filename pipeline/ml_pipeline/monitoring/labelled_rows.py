"""The labelled rows of a version, as arrays."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.evaluation.holdout import Sample
from ml_pipeline.monitoring.labels import DAY, GROUP, OTHER, labelled_files, reading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]


MAX_ROWS = 2_000_000
"""Rows of all versions in memory: of more, evenly spread ones are read."""


@dataclass(frozen=True)
class LabelledRows:
    """Rows that a version served and whose label came.

    Attributes:
        labels: by the version's task [n].
        predictions: of the version [n] or [n, k].
        days: of the requests, in days since 1970-01-01 [n].
        groups: by feature, the value of each row or None.
        others: by the digest of its bundle, what another version predicts; NaN where it did not.
        unknown_classes: labels that the version's task does not have; their rows are left out.
    """

    labels: Floats
    predictions: Floats
    days: Integers
    groups: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    others: Mapping[str, Floats] = field(default_factory=dict)
    unknown_classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def chosen(self, rows: NDArray[np.bool_]) -> LabelledRows:
        """Return some of the rows."""
        return LabelledRows(
            self.labels[rows],
            self.predictions[rows],
            self.days[rows],
            {
                name: [value for value, kept in zip(values, rows, strict=True) if kept]
                for name, values in self.groups.items()
            },
            {digest: values[rows] for digest, values in self.others.items()},
            self.unknown_classes,
        )

    def since(self, day: int) -> LabelledRows:
        """Return the rows of a day and later ones."""
        return self.chosen(self.days >= day)

    def sample(self, task: Task) -> Sample:
        """Return labels and days as a sample whose units are the days."""
        import numpy as np

        days, codes = np.unique(self.days, return_inverse=True)
        names = tuple(str(np.datetime64(int(day), "D")) for day in days)
        return Sample(self.labels, codes.astype(np.int64), names, "day", task)


def read_labelled(folder: Path, look: int, digest: str, task: Task) -> LabelledRows:
    """Return the labelled rows of a version up to a look; rows that miss their label are left out.

    Args:
        folder: of the environment.
        look: the last one whose files count.
        digest: of the version's bundle.
        task: the version's.

    Raises:
        EnvironmentFault: a file cannot be read.
    """
    import numpy as np
    import pyarrow as pa

    tables = [*_tables(folder, look, digest)]
    if not tables:
        return LabelledRows(np.empty(0), _empty(task), np.empty(0, dtype=np.int64))
    table = pa.concat_tables(tables, promote_options="default")
    texts = table["label"].to_pylist()
    labels = _labels(texts, task)
    known = np.isfinite(labels)
    unknown = {text for text, one in zip(texts, known, strict=True) if not one}
    rows = LabelledRows(
        labels,
        _predictions(table["prediction"].to_pylist(), task),
        np.floor(table["time"].to_numpy() / DAY).astype(np.int64),
        {
            name.removeprefix(GROUP): table[name].to_pylist()
            for name in table.column_names
            if name.startswith(GROUP)
        },
        {
            name.removeprefix(OTHER): _predictions(table[name].to_pylist(), task)
            for name in table.column_names
            if name.startswith(OTHER)
        },
        tuple(sorted(unknown)),
    )
    return rows if known.all() else rows.chosen(known)


def labelled_digests(folder: Path, look: int) -> set[str]:
    """Return the digests of the versions of which labels came in exactly this look."""
    found: set[str] = set()
    for path in labelled_files(folder, look):
        if path.name == f"labelled-{look}.parquet":
            with reading(path) as file:
                table = file.read(columns=["digest", "label"])
            found |= {*table.filter(table["label"].is_valid())["digest"].unique().to_pylist()}
    return found


def _tables(folder: Path, look: int, digest: str) -> Iterator[Any]:
    """Yield the rows of a version, or every k-th of them where there are more than are read."""
    import numpy as np
    import pyarrow.compute as pc

    paths = labelled_files(folder, look)
    step = math.ceil(sum(map(_count, paths)) / MAX_ROWS)
    seen = 0
    for path in paths:
        with reading(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                wanted = pc.and_(pc.equal(table["digest"], digest), table["label"].is_valid())
                table = table.filter(wanted)
                chosen = np.arange(-seen % max(step, 1), table.num_rows, max(step, 1))
                seen += table.num_rows
                if step > 1:
                    table = table.take(chosen)
                if table.num_rows:
                    yield table.drop_columns(_unused(table.column_names))


def _count(path: Path) -> int:
    with reading(path) as file:
        return int(file.metadata.num_rows)


def _unused(names: Collection[str]) -> list[str]:
    return [name for name in ("key", "request_id", "row", "digest", "version") if name in names]


def _labels(texts: Sequence[str], task: Task) -> Floats:
    """Return the labels of a task; NaN for a class that it does not have."""
    import numpy as np

    if task.objective.kind != "multiclass":
        return np.array([float(text) for text in texts])
    classes = {name: float(code) for code, name in enumerate(task.metadata()["classes"])}
    return np.array([classes.get(text, np.nan) for text in texts])


def _predictions(values: Sequence[Sequence[float] | None], task: Task) -> Floats:
    """Return predictions [n] or [n, k], NaN where there is none, or one of another width."""
    import numpy as np

    width = task.objective.outputs if task.objective.kind == "multiclass" else 1
    nothing = [np.nan] * width
    found = np.array(
        [value if value is not None and len(value) == width else nothing for value in values],
        dtype=np.float64,
    ).reshape(-1, width)
    return found if task.objective.kind == "multiclass" else found[:, 0]


def _empty(task: Task) -> Floats:
    return _predictions([], task)
