"""Summaries of the live rows of a version: for each day and each feature, prediction and data test.

Their size depends on the number of days and features, not on the number of rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core import workdir
from ml_pipeline.monitoring.live_rules import LiveRules
from ml_pipeline.monitoring.monitored_model import PREDICTION, MonitoredModel
from ml_pipeline.statistics.drift_test import FeatureReference, UnitSummary

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.monitoring.served_rows import ServedRows

KEPT_DAYS = 128
"""Twice the longest window."""
DAY = 86_400
FEATURE, RULE = "feature ", "data test "


@dataclass
class LiveSummaries:
    """The summaries of one version's rows by series: ``feature NAME``, ``data test NAME``, ..."""

    model: MonitoredModel
    rules: LiveRules
    by_series: dict[str, UnitSummary] = field(default_factory=dict)

    @cached_property
    def references(self) -> Mapping[str, FeatureReference]:
        """What each series is compared with: the same figures of the reference rows."""
        references = {FEATURE + name: one for name, one in self.model.features.items()}
        references[PREDICTION] = self.model.predictions
        for name, failed in self._reference_failures.items():
            references[RULE + name] = FeatureReference.numeric(
                RULE + name, failed.astype("float64"), self.model.units
            )
        return references

    @cached_property
    def reference_failures(self) -> Mapping[str, float]:
        """Share of the reference rows that fail each data test."""
        return {name: float(failed.mean()) for name, failed in self._reference_failures.items()}

    @cached_property
    def _reference_failures(self) -> Mapping[str, NDArray[np.bool_]]:
        rows = self.model.reference.loc[:, list(self.model.bundle.schema.names)]
        return self.rules.failures(rows.reset_index(drop=True))

    def add(self, served: ServedRows) -> None:
        """Add rows of the version; values that the log holds as hashes are left out."""
        import numpy as np

        days = np.floor(served.times / DAY).astype(np.int64)
        columns = {
            name: column
            for name, column in zip(served.features, served.columns, strict=True)
            if name not in served.hashed
        }
        for name, reference in self.model.features.items():
            if name in columns:
                self._merge(FEATURE + name, reference.summarize(columns[name], days))
        predictions = self.model.bundle.task.histogram_values(served.predictions)
        self._merge(PREDICTION, self.model.predictions.summarize(predictions, days))
        for name, failed in self.rules.failures(_frame(columns)).items():
            reference = self.references[RULE + name]
            self._merge(RULE + name, reference.summarize(failed.astype("float64"), days))

    def _merge(self, series: str, summary: UnitSummary) -> None:
        known = self.by_series.get(series)
        merged = summary if known is None else known.merge(summary)
        if len(merged.units):
            last = int(merged.units[-1])
            merged = merged.between(last - KEPT_DAYS + 1, last)
        self.by_series[series] = merged

    @property
    def rows(self) -> int:
        """Rows of the days that are kept."""
        summary = self.by_series.get(PREDICTION)
        return 0 if summary is None else summary.rows

    @property
    def rows_by_day(self) -> Mapping[int, int]:
        summary = self.by_series.get(PREDICTION)
        if summary is None:
            return {}
        counts = summary.counts.sum(axis=1).tolist()
        return dict(zip(summary.units.tolist(), counts, strict=True))

    @property
    def last_day(self) -> int | None:
        """The newest day with a row, counted since 1970-01-01."""
        summary = self.by_series.get(PREDICTION)
        return int(summary.units[-1]) if summary is not None and len(summary.units) else None

    @property
    def first_day(self) -> int | None:
        """The first day with a row, of those that are kept."""
        summary = self.by_series.get(PREDICTION)
        return int(summary.units[0]) if summary is not None and len(summary.units) else None

    def write(self, path: Path) -> None:
        """Write the summaries as arrays of numbers."""
        import numpy as np

        arrays: dict[str, Any] = {
            f"{place}.{key}": array
            for place, summary in enumerate(self.by_series.values())
            for key, array in summary.to_arrays().items()
        }
        names = json.dumps(list(self.by_series)).encode()
        with workdir.atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, names=np.frombuffer(names, dtype=np.uint8), **arrays)

    def read(self, path: Path) -> None:
        """Read what ``write`` wrote.

        Raises:
            ValueError: it is not such a file.
            OSError: it cannot be read.
        """
        import numpy as np

        with np.load(path, allow_pickle=False) as content:
            by_place: dict[int, dict[str, NDArray[Any]]] = {}
            for key in content.files:
                place, _, name = key.partition(".")
                if name:
                    by_place.setdefault(int(place), {})[name] = content[key]
            names = json.loads(content["names"].tobytes())
        self.by_series = {
            series: UnitSummary.from_arrays(by_place[place]) for place, series in enumerate(names)
        }


def _frame(columns: Mapping[str, object]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(columns)
