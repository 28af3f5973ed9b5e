"""What replaced versions predict for live rows, so that they are compared on the same rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.home import Home
from ml_pipeline.features.schema import FeatureError
from ml_pipeline.gate.compare_models import different_outputs
from ml_pipeline.promotion.production_history import Entry
from ml_pipeline.targets.released_bundles import FOLDER as RELEASED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.monitoring.served_rows import ServedRows
    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]

MAX_VERSIONS = 3
"""The newest versions that are scored beside the one that serves."""


@dataclass
class ReplacedVersions:
    """Versions that were in production before, by the digest of their bundles.

    Attributes:
        numbers: of the versions, newest first.
        why: of those that cannot be scored, the reason.
    """

    numbers: dict[str, int]
    why: dict[str, str] = field(default_factory=dict)
    _bundles: dict[str, Bundle] = field(default_factory=dict)

    @classmethod
    def of(cls, home: Home, history: Iterable[Entry], served: str, task: Task) -> ReplacedVersions:
        """Open the released bundles of the versions that production served before ``served``."""
        numbers: dict[str, int] = {}
        for entry in reversed([*history]):
            if entry.bundle != served and len(numbers) < MAX_VERSIONS:
                numbers.setdefault(entry.bundle, entry.version)
        found = cls(numbers)
        for digest in numbers:
            copy = home / RELEASED / digest
            if not copy.is_dir():
                found.why[digest] = "its bundle is no longer in the home (serving.keep_released)"
                continue
            try:
                bundle = Bundle.open(copy)
            except Refused as error:
                found.why[digest] = str(error)
                continue
            if why := different_outputs(task, bundle.task):
                found.why[digest] = why
            else:
                found._bundles[digest] = bundle
        return found

    def predict(self, rows: ServedRows) -> dict[str, Floats]:
        """Return what each of them predicts for rows, where the request contract allows it.

        A version that does not take these rows is left out, and ``why`` says so.
        """
        columns = {
            name: values
            for name, values in zip(rows.features, rows.columns, strict=True)
            if name not in rows.hashed
        }
        found = {}
        for digest, bundle in self._bundles.items():
            lacking = [name for name in bundle.schema.names if name not in columns]
            if lacking:
                self.why[digest] = (
                    f"it takes features that the log does not have: {', '.join(lacking)}"
                )
                continue
            try:
                predictions = bundle.predict(bundle.schema.encode(columns))
            except FeatureError as error:
                self.why[digest] = f"it does not take these rows: {error}"
                continue
            if bundle.task.invalid(predictions).any():
                self.why[digest] = f"it answers rows with no {bundle.task.prediction_noun}"
            else:
                found[digest] = predictions
        return found
