"""Regression: the label is a number; a row is answered with a number and an interval around it.

The interval is that of split conformal prediction: Vovk, Gammerman and Shafer (2005), "Algorithmic
Learning in a Random World"; Lei, G'Sell, Rinaldo, Tibshirani and Wasserman (2018),
"Distribution-Free Predictive Inference for Regression", Journal of the American Statistical
Association 113, algorithm 2. Its half width is a quantile of the absolute errors on the validation
part, which the estimator was not fitted to. For rows that are exchangeable with those of the
validation part it covers the label at least as often as it aims at; boosting also stops early on
that part, which makes the errors there slightly too small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ml_pipeline.core.artefacts import ENTITY_COLUMN, LABEL_COLUMN, TIME_COLUMN
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.onnx_session import TOLERANCE
from ml_pipeline.tasks.base import Objective, PlotKind, Task, Value

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.tasks.base import Floats
    from ml_pipeline.tasks.metrics import Metric

NAME = "regression"
COVERAGE = 0.9
"""The share of labels that the interval aims to cover."""
BINS = 20
"""Bins of the histogram of predictions: quantiles of the predictions for training rows."""
"""Largest difference of two predictions that count as the same, in standard deviations of labels.
"""
RESOLUTION = 1e-4
"""Least standard deviation of labels, as a share of the largest: a float32 holds seven digits."""
FIELDS = ("name", "mean", "scale", "half_width", "coverage", "bins")


@dataclass(frozen=True)
class Regression(Task):
    """The label is a number; a row is answered with a number and its interval.

    ``mean`` and ``scale`` are mean and standard deviation of the training labels, to which the
    estimator's labels are scaled; ``half_width`` is that of the interval.
    """

    mean: float = 0.0
    scale: float = 1.0
    half_width: float = math.inf
    coverage: float = COVERAGE
    bounds: tuple[float, ...] = ()

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "regression model"
    answers: ClassVar[str] = "a number and the interval that it lies in with the given coverage"
    primary_metric: ClassVar[str] = "mae"
    training_metric: ClassVar[str] = "mse"
    group_metrics: ClassVar[tuple[str, ...]] = ("mae", "mse", "rmse", "r2")
    summary_metrics: ClassVar[tuple[str, ...]] = ("mae", "rmse", "r2", "coverage")
    summary_format: ClassVar[str] = ".4g"
    baseline: ClassVar[str] = "mean"
    baseline_title: ClassVar[str] = "mean of the training labels"
    linear_baseline: ClassVar[str] = "ridge"
    calibrations: ClassVar[tuple[str, ...]] = ("none",)
    answer_example: ClassVar[str] = '"prediction": 12.5, "interval": [10.2, 14.8]'
    invocation_example: ClassVar[str] = "12.5"
    column: ClassVar[str] = "__prediction"
    golden_key: ClassVar[str] = "predictions"
    log_key: ClassVar[Any] = "prediction"
    plots: ClassVar[tuple[PlotKind, ...]] = ("predicted_against_actual", "residuals")
    change_unit: ClassVar[str] = "standard deviations of the training labels"
    prediction_noun: ClassVar[str] = "finite number"
    output_column: ClassVar[int] = 0

    @property
    def metrics(self) -> Mapping[str, Metric]:
        from ml_pipeline.tasks.regression_metrics import METRICS, interval_metrics

        return {**METRICS, **interval_metrics(self.half_width, self.coverage)}

    @property
    def objective(self) -> Objective:
        return Objective("regression", 1)

    # --- what training learns ---------------------------------------------------------------

    def learned(self, classes: Sequence[str], train: Floats) -> Self:  # noqa: ARG002
        scale = float(train.std())
        return replace(self, mean=float(train.mean()), scale=scale or 1.0)

    def calibrated(self, labels: Floats, predictions: Floats, reference: Floats) -> Self:
        import numpy as np

        bounds = np.unique(np.quantile(reference, np.arange(1, BINS) / BINS))
        return replace(
            self,
            half_width=half_width(np.abs(labels - predictions), self.coverage),
            bounds=tuple(float(bound) for bound in bounds),
        )

    def to_json(self) -> dict[str, Any] | None:
        return {
            "name": self.name,
            "mean": self.mean,
            "scale": self.scale,
            "half_width": self.half_width,
            "coverage": self.coverage,
            "bins": list(self.bounds),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        if set(values) != {*FIELDS}:
            raise ValueError(f"{cls.name} records {', '.join(FIELDS)}")
        numbers = [values[key] for key in ("mean", "scale", "half_width", "coverage")]
        numbers += values["bins"]
        if not all(type(each) in (int, float) and math.isfinite(each) for each in numbers):
            raise ValueError(f"{cls.name} records finite numbers")
        mean, scale, width, coverage, *bounds = map(float, numbers)
        if scale <= 0 or width < 0 or not 0 < coverage < 1 or bounds != sorted({*bounds}):
            raise ValueError(f"{cls.name}: scale, half width, coverage or bins are out of range")
        return cls(mean, scale, width, coverage, tuple(bounds))

    # --- labels -----------------------------------------------------------------------------

    def check_labels(self, known: Floats) -> None:
        import numpy as np

        infinite = known[~np.isfinite(known)]
        if len(infinite):
            raise Refused(f"{len(infinite)} labels such as {infinite[0]:g}", expected="numbers")
        largest = float(np.abs(known).max())
        spread = float(known.std())
        if 0 < spread < RESOLUTION * largest:
            raise Refused(
                f"the labels, up to {largest:g}, have a standard deviation of {spread:g}, which "
                "the seven digits of a float32 prediction do not resolve",
                hint="subtract a constant from the label where the data are made",
            )

    def training_fault(self, labels: Floats) -> str:
        if len(labels) and labels.min() < labels.max():
            return ""
        return f"have the label {labels[0]:g}" if len(labels) else "are missing"

    def check_part(self, part: str, labels: Floats) -> None:
        fewest = fewest_rows(self.coverage)
        if part == "validation" and len(labels) < fewest:
            raise Refused(
                f"the validation part has {len(labels)} rows",
                expected=f"at least {fewest}, for an interval of coverage {self.coverage:g}",
                hint="bring more data, or raise split.validation_days or split.validation_share",
            )

    def label_summary(self, labels: Floats) -> dict[str, Any]:
        return {"label_mean": float(labels.mean()), "label_std": float(labels.std())}

    def card_rows(self) -> Sequence[tuple[str, str]]:
        return (
            ("Mean label in training", f"{self.mean:.6g}"),
            ("Standard deviation of labels in training", f"{self.scale:.6g}"),
            ("Interval", f"prediction ± {self.half_width:.6g}, split conformal"),
            ("Coverage that the interval aims at", f"{self.coverage:.0%}"),
        )

    # --- predictions ------------------------------------------------------------------------

    def invalid(self, predictions: Floats) -> NDArray[np.bool_]:
        import numpy as np

        found: NDArray[np.bool_] = ~np.isfinite(predictions)
        return found

    @property
    def label_scale(self) -> tuple[float, float]:
        return self.mean, self.scale

    @property
    def tolerance(self) -> float:
        return TOLERANCE * max(self.scale, abs(self.mean))

    @property
    def score_columns(self) -> Mapping[str, str]:
        return {"prediction": "number", "interval_low": "number", "interval_high": "number"}

    def score_values(self, predictions: Floats) -> Mapping[str, Sequence[Any]]:
        return {
            "prediction": predictions,  # type: ignore[dict-item]
            "interval_low": predictions - self.half_width,  # type: ignore[dict-item]
            "interval_high": predictions + self.half_width,  # type: ignore[dict-item]
        }

    def answer(self, value: Value) -> dict[str, Any]:
        assert not isinstance(value, tuple)
        width = self.half_width
        return {"prediction": value, "interval": [value - width, value + width]}

    def read(self, answer: Mapping[str, Any]) -> float:
        value, interval = answer.get("prediction"), answer.get("interval")
        if not _is_finite(value):
            raise ValueError("the answer holds no prediction")
        if (
            not isinstance(interval, list)
            or len(interval) != 2
            or not all(map(_is_finite, interval))
        ):
            raise ValueError("the answer holds no interval of two numbers")
        if not interval[0] <= value <= interval[1]:
            raise ValueError("the prediction lies outside its interval")
        return float(value)  # type: ignore[arg-type]

    def invocation(self, value: Value) -> Any:
        return value

    def answer_schema(self) -> dict[str, Any]:
        number = {"type": "number"}
        return {
            "prediction": number,
            "interval": {"type": "array", "items": number, "minItems": 2, "maxItems": 2},
        }

    def invocation_schema(self) -> dict[str, Any]:
        return {"type": "number"}

    def metadata(self) -> dict[str, Any]:
        return {"interval_coverage": self.coverage}

    def pyfunc(self, predictions: Floats) -> Any:
        return predictions

    # --- drift and shadow -------------------------------------------------------------------

    @property
    def bins(self) -> tuple[float, ...]:
        return self.bounds

    def histogram_value(self, value: Value) -> float:
        assert not isinstance(value, tuple)
        return value

    def histogram_values(self, predictions: Floats) -> Floats:
        return predictions

    def changes(self, one: Floats, other: Floats) -> Floats:
        """Return the differences in standard deviations of the training labels."""
        found: Floats = (other - one) / self.scale
        return found

    def decisions(
        self,
        predictions: Floats,  # noqa: ARG002
        threshold: float,  # noqa: ARG002
    ) -> NDArray[Any] | None:
        return None

    # --- evaluation -------------------------------------------------------------------------

    def targets(self, labels: Floats) -> Floats:
        return labels

    def linear(self, train: Floats, labels: Floats, rows: Floats, seed: int) -> Floats:
        from sklearn.linear_model import Ridge

        found: Floats = Ridge(alpha=1.0, random_state=seed).fit(train, labels).predict(rows)
        return found

    def dated_baselines(self, train: pd.DataFrame, rows: pd.DataFrame) -> Mapping[str, Floats]:
        """Return the last label of each row's entity in training; of a new one, the last of all."""
        import numpy as np

        ordered = train.sort_values(TIME_COLUMN, kind="stable")
        last_day = ordered[TIME_COLUMN] == ordered[TIME_COLUMN].iloc[-1]
        of_all = float(ordered.loc[last_day, LABEL_COLUMN].mean())
        last = ordered.groupby(ENTITY_COLUMN)[LABEL_COLUMN].last()
        found = rows[ENTITY_COLUMN].map(last).fillna(of_all).to_numpy(dtype=np.float64)
        return {"last_value": found}

    def binary_labels(self, train: Floats, holdout: Floats) -> Sequence[tuple[Floats, Floats]]:
        """Return whether labels lie above the median of the training part."""
        import numpy as np

        middle = float(np.median(train))
        return [((train > middle).astype(np.float64), (holdout > middle).astype(np.float64))]

    def defers_metric(self, name: str) -> bool:  # noqa: ARG002
        return False

    def undefined(
        self,
        metric: Metric,
        labels: Floats,
        codes: Any,  # noqa: ARG002
        clusters: int,  # noqa: ARG002
    ) -> str:
        if metric.name == "r2" and labels.min() == labels.max():
            return f"every label is {labels[0]:g}, which leaves nothing to explain"
        return ""

    def margin_unit(self, metric: str, labels: Floats) -> float:
        """Return the spread of the compared labels in the metric's unit.

        A margin is a share of it: of the mean absolute deviation from the median for the MAE, of
        the variance for the MSE.
        """
        import numpy as np

        if metric == "mae":
            return float(np.abs(labels - np.median(labels)).mean()) or 1.0
        return float(labels.var()) or 1.0

    def class_of(self, predictions: Floats) -> Any:
        return predictions

    def label_of(self, labels: Floats) -> Any:
        return labels


def fewest_rows(coverage: float) -> int:
    """Return the fewest errors that a finite interval of this coverage can be calibrated on."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def half_width(errors: Floats, coverage: float) -> float:
    """Return the ⌈(n + 1) coverage⌉-th smallest absolute error [n]; the largest of too few.

    Of at least :func:`fewest_rows` errors it is the half width of split conformal prediction. A
    quick run may have fewer: its model is never served.
    """
    import numpy as np

    rank = math.ceil((len(errors) + 1) * coverage - 1e-9)
    return float(np.sort(errors)[min(rank, len(errors)) - 1])


def _is_finite(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
