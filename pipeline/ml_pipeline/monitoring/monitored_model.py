"""The model that an environment serves, and what its live rows are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.bundle.reference_rows import fitted_rows, later_rows, units_of
from ml_pipeline.core import artefacts
from ml_pipeline.data import parquet
from ml_pipeline.monitoring.importance import importance_shares
from ml_pipeline.statistics.drift_test import FeatureReference
from ml_pipeline.tasks.base import from_column

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PREDICTION = "prediction"


@dataclass(frozen=True)
class MonitoredModel:
    """A version's bundle with its reference rows."""

    bundle: Bundle
    version: int | None

    @classmethod
    def open(cls, released: Path, version: int | None) -> MonitoredModel:
        """Open the released copy of a bundle.

        Raises:
            Refused: it does not verify.
        """
        return cls(Bundle.open(released), version)

    @cached_property
    def _rows(self) -> pd.DataFrame:
        return parquet.read(self.bundle.path / artefacts.REFERENCE_FILE)

    @cached_property
    def reference(self) -> pd.DataFrame:
        """A sample of the training rows, with the model's predictions."""
        return fitted_rows(self._rows)

    @cached_property
    def features(self) -> Mapping[str, FeatureReference]:
        """The distribution of each feature in training."""
        references = {}
        for feature in self.bundle.schema.features:
            values = self.reference[feature.name]
            if feature.kind == "numeric":
                numbers = values.to_numpy(dtype="float64", na_value=float("nan"))
                references[feature.name] = FeatureReference.numeric(
                    feature.name, numbers, self.units
                )
            else:
                words = values.astype(object).where(values.notna(), None).tolist()
                references[feature.name] = FeatureReference.categorical(
                    feature.name, words, self.units
                )
        return references

    @cached_property
    def predictions(self) -> FeatureReference:
        """The distribution of the predictions for rows that the model was not fitted to."""
        task, rows = self.bundle.task, later_rows(self._rows)
        values = task.histogram_values(from_column(rows[task.column]))
        return FeatureReference.numeric(PREDICTION, values, units_of(rows))

    @cached_property
    def importance(self) -> Mapping[str, float]:
        return importance_shares(self.bundle, self.reference)

    @cached_property
    def units(self) -> NDArray[np.int64] | None:
        """The day of each reference row; None for undated rows, or an older bundle."""
        return units_of(self.reference)
