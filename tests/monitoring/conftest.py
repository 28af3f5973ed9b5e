"""Served rows and sources of labels, without a server and without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ml_pipeline.config import LabelSource, Project
from ml_pipeline.core.home import Home
from ml_pipeline.monitoring.labels import PendingRows
from ml_pipeline.monitoring.served_rows import ServedRows
from ml_pipeline.tasks.binary_classification import BINARY

from tests.monitoring.model_in_use import InUse, reference_file

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
DIGEST = "d" * 64


def served(
    ids: Sequence[str],
    predictions: Any = 0.5,
    *,
    at: datetime | Sequence[datetime] = NOW - timedelta(days=1),
    places: Sequence[int] | None = None,
    digest: str = DIGEST,
    version: int = 3,
    hashed: frozenset[str] = frozenset(),
    **columns: Sequence[Any],
) -> ServedRows:
    """Return rows as the prediction log has them."""
    times = [at] * len(ids) if isinstance(at, datetime) else at
    values = np.asarray(predictions, dtype=np.float64)
    return ServedRows(
        digest=digest,
        version=version,
        features=tuple(columns),
        hashed=hashed,
        omitted=(),
        request_ids=list(ids),
        places=np.asarray(places if places is not None else [0] * len(ids), dtype=np.int64),
        times=np.array([moment.timestamp() for moment in times]),
        columns=[np.asarray(column, dtype=object) for column in columns.values()],
        predictions=values if values.ndim else np.full(len(ids), float(values)),
    )


class LabelDesk:
    """A project with a CSV file of labels, and the rows that wait for them, look by look."""

    def __init__(self, root: Path, problem: Any, **section: Any) -> None:
        self.folder, self.file = root / "monitor", root / "labels.csv"
        self.project = SimpleNamespace(root=root, path=lambda path: root / path)
        values = {"label": "label", "delay_days": 7, **section}
        if "keys" not in values:
            values = {"request_id": "id", **values}
        given = values.pop("source", {})
        source = given if "kind" in given else {"kind": "csv", "path": "labels.csv", **given}
        self.section = LabelSource(source=source, **values)
        self.problem, self.task, self.look = problem, BINARY, 0
        self.group_by: tuple[str, ...] = ()

    def labels(self, *lines: str, header: str = "id,label") -> None:
        self.file.write_text("\n".join([header, *lines]) + "\n")

    def open(self) -> PendingRows:
        return PendingRows(self.folder, self.look, self.section, self.problem, self.group_by)

    def at(self, now: datetime, *batches: ServedRows, commit: bool = True):
        """Look once: add rows, join labels; without ``commit`` the look is killed at its end."""
        pending = self.open()
        for batch in batches:
            pending.add(batch)
        joined = pending.join(self.project, self.task, now)
        if commit:
            self.look += 1
            pending.remove_old(now)
        return joined


@pytest.fixture
def desk(tmp_path: Path) -> Callable[..., LabelDesk]:
    def make(problem: Any = None, **section: Any) -> LabelDesk:
        names = SimpleNamespace(
            time_column="date", entity_column="symbol", options=SimpleNamespace(positive=1)
        )
        return LabelDesk(tmp_path, names if problem is None else problem, **section)

    return make


@pytest.fixture
def in_use(
    tmp_path: Path, make_project: Callable[..., Project], make_bundle: Callable[..., Path]
) -> Callable[..., InUse]:
    """Make a model in use; arguments are the section ``monitor``."""

    def make(**monitor: Any) -> InUse:
        table = {"kind": "table", "label": "y", "numeric": ["x"], "categorical": ["c"]}
        project = make_project(problem=table, monitor=monitor)
        home = Home(tmp_path / "home")
        return InUse(project, home, make_bundle("one", reference=reference_file()))

    return make
