"""Multi-class classification: the label is one of several names, each of which is predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ml_pipeline.core.errors import Refused
from ml_pipeline.core.onnx_session import TOLERANCE
from ml_pipeline.tasks.base import Objective, PlotKind, Task, Value

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.tasks.base import Floats
    from ml_pipeline.tasks.metrics import Metric

NAME = "multiclass_classification"
FEWEST_OF_A_CLASS = 5
"""Rows of a class in the training part: fewer say nothing about the next one."""
SUM_TOLERANCE = 1e-3
"""How far the probabilities of an answer may be from 1 together."""


@dataclass(frozen=True)
class MulticlassClassification(Task):
    """The label is one of ``classes``; a row is answered with the probability of each."""

    classes: tuple[str, ...] = ()

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "multi-class classifier"
    answers: ClassVar[str] = "the probability of each class, and the most probable class"
    primary_metric: ClassVar[str] = "log_loss"
    training_metric: ClassVar[str] = "log_loss"
    group_metrics: ClassVar[tuple[str, ...]] = (
        "log_loss",
        "brier_score",
        "accuracy",
        "balanced_accuracy",
    )
    summary_metrics: ClassVar[tuple[str, ...]] = ("balanced_accuracy", "accuracy")
    summary_format: ClassVar[str] = ".4g"
    baseline: ClassVar[str] = "class_shares"
    baseline_title: ClassVar[str] = "class shares"
    linear_baseline: ClassVar[str] = "logistic_regression"
    calibrations: ClassVar[tuple[str, ...]] = ("none",)
    answer_example: ClassVar[str] = '"probabilities": {"small": 0.3, ...}, "label": "large"'
    invocation_example: ClassVar[str] = '{"small": 0.3, ...}'
    column: ClassVar[str] = "__probabilities"
    golden_key: ClassVar[str] = "probabilities"
    log_key: ClassVar[Any] = "probabilities"
    plots: ClassVar[tuple[PlotKind, ...]] = ("confusion_matrix", "calibration")
    change_unit: ClassVar[str] = ""
    prediction_noun: ClassVar[str] = "probability for each class"
    output_column: ClassVar[None] = None
    tolerance: ClassVar[float] = TOLERANCE

    @property
    def metrics(self) -> Mapping[str, Metric]:
        from ml_pipeline.tasks.multiclass_metrics import METRICS, class_metrics

        return {**METRICS, **class_metrics(self.classes)}

    @property
    def objective(self) -> Objective:
        return Objective("multiclass", len(self.classes))

    # --- what training learns ---------------------------------------------------------------

    def learned(self, classes: Sequence[str], train: Floats) -> Self:  # noqa: ARG002
        return replace(self, classes=tuple(classes))

    def calibrated(
        self,
        labels: Floats,  # noqa: ARG002
        predictions: Floats,  # noqa: ARG002
        reference: Floats,  # noqa: ARG002
    ) -> Self:
        return self

    def to_json(self) -> dict[str, Any] | None:
        return {"name": self.name, "classes": list(self.classes)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        classes = values.get("classes")
        if set(values) != {"name", "classes"} or not isinstance(classes, list):
            raise ValueError(f"{cls.name} records its name and classes")
        if len(classes) < 2 or not all(isinstance(each, str) for each in classes):
            raise ValueError(f"{cls.name} has at least two classes, each a text")
        if len({*classes}) < len(classes):
            raise ValueError(f"{cls.name} has a class twice")
        return cls(tuple(classes))

    # --- labels -----------------------------------------------------------------------------

    def check_labels(self, known: Floats) -> None:
        if not ((known >= 0) & (known == known.round())).all():
            raise Refused("a label is no class", expected="codes from 0 on")

    def training_fault(self, labels: Floats) -> str:
        lacking = [name for number, name in enumerate(self.classes) if not (labels == number).any()]
        if not len(labels):
            return "are missing"
        if len({*labels.tolist()}) == 1:
            return "are of one class"
        return f"lack class {lacking[0]!r}" if lacking else ""

    def check_part(self, part: str, labels: Floats) -> None:
        fewest = {"train": FEWEST_OF_A_CLASS, "holdout": 1}.get(part, 0)
        for number, name in enumerate(self.classes):
            found = int((labels == number).sum())
            if found < fewest:
                raise Refused(
                    f"too few rows of class {name!r}: {found} of the {len(labels)} rows of the "
                    f"{part} part",
                    expected=f"at least {fewest}",
                    hint="bring more data, join rare classes, or raise the part's days or share "
                    "in split",
                )

    def label_summary(self, labels: Floats) -> dict[str, Any]:
        return {
            "class_shares": {
                name: float((labels == number).mean()) for number, name in enumerate(self.classes)
            }
        }

    def card_rows(self) -> Sequence[tuple[str, str]]:
        return (("Classes", ", ".join(self.classes)),)

    # --- predictions ------------------------------------------------------------------------

    def invalid(self, predictions: Floats) -> NDArray[np.bool_]:
        import numpy as np

        inside = np.isfinite(predictions) & (predictions >= 0) & (predictions <= 1)
        found: NDArray[np.bool_] = ~(
            inside.all(axis=1) & (np.abs(predictions.sum(axis=1) - 1) <= SUM_TOLERANCE)
        )
        return found

    @property
    def score_columns(self) -> Mapping[str, str]:
        return {"label": "text"} | {f"probability_{name}": "number" for name in self.classes}

    def score_values(self, predictions: Floats) -> Mapping[str, Sequence[Any]]:
        columns: dict[str, Sequence[Any]] = {"label": self.class_of(predictions)}
        for number, name in enumerate(self.classes):
            columns[f"probability_{name}"] = predictions[:, number]  # type: ignore[assignment]
        return columns

    def answer(self, value: Value) -> dict[str, Any]:
        assert isinstance(value, tuple)
        probabilities = dict(zip(self.classes, value, strict=True))
        return {"probabilities": probabilities, "label": self.classes[_largest(value)]}

    def read(self, answer: Mapping[str, Any]) -> tuple[float, ...]:
        found = answer.get("probabilities")
        if not isinstance(found, dict) or {*found} != {*self.classes}:
            raise ValueError("the answer holds no probability for each class")
        values = tuple(found[name] for name in self.classes)
        if not all(map(_is_probability, values)):
            raise ValueError("the answer holds no probability for each class")
        if abs(sum(values) - 1) > SUM_TOLERANCE:
            raise ValueError(f"the probabilities add up to {sum(values):g}, not to 1")
        label = answer.get("label")
        if label not in found or found[label] < max(values):
            raise ValueError("the answer's label is not the most probable class")
        return tuple(map(float, values))

    def invocation(self, value: Value) -> Any:
        assert isinstance(value, tuple)
        return dict(zip(self.classes, value, strict=True))

    def answer_schema(self) -> dict[str, Any]:
        return {
            "probabilities": self.invocation_schema(),
            "label": {"enum": list(self.classes)},
        }

    def invocation_schema(self) -> dict[str, Any]:
        number = {"type": "number", "minimum": 0, "maximum": 1}
        return {
            "type": "object",
            "properties": dict.fromkeys(self.classes, number),
            "required": list(self.classes),
            "additionalProperties": False,
        }

    def metadata(self) -> dict[str, Any]:
        return {"classes": list(self.classes)}

    def pyfunc(self, predictions: Floats) -> Any:
        import pandas as pd

        return pd.DataFrame(predictions, columns=list(self.classes))

    # --- drift and shadow -------------------------------------------------------------------

    @property
    def bins(self) -> tuple[float, ...]:
        """The codes of the classes: the histogram counts the most probable class of each row."""
        return tuple(float(number) for number in range(len(self.classes)))

    def histogram_value(self, value: Value) -> float:
        assert isinstance(value, tuple)
        return float(_largest(value))

    def histogram_values(self, predictions: Floats) -> Floats:
        found: Floats = predictions.argmax(axis=1).astype("float64")
        return found

    def changes(self, one: Floats, other: Floats) -> Floats:
        """Return the total variation distance of the probabilities, 0 to 1."""
        import numpy as np

        found: Floats = np.abs(other - one).sum(axis=1) / 2
        return found

    def decisions(self, predictions: Floats, threshold: float) -> NDArray[Any] | None:  # noqa: ARG002
        found: NDArray[Any] = predictions.argmax(axis=1)
        return found

    # --- evaluation -------------------------------------------------------------------------

    def targets(self, labels: Floats) -> Floats:
        import numpy as np

        found: Floats = (labels[:, None] == np.arange(len(self.classes))).astype(np.float64)
        return found

    def linear(self, train: Floats, labels: Floats, rows: Floats, seed: int) -> Floats:
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        fault = self.training_fault(labels)
        if fault:
            raise Refused(f"the training labels {fault}", expected="every class")
        model = LogisticRegression(max_iter=1000, random_state=seed)
        model.fit(train, labels.astype(np.int64))
        probabilities: Floats = model.predict_proba(rows)
        return probabilities

    def dated_baselines(
        self,
        train: pd.DataFrame,  # noqa: ARG002
        rows: pd.DataFrame,  # noqa: ARG002
    ) -> Mapping[str, Floats]:
        return {}

    def binary_labels(self, train: Floats, holdout: Floats) -> Sequence[tuple[Floats, Floats]]:
        """Return each class against the others."""
        return [
            ((train == number).astype("float64"), (holdout == number).astype("float64"))
            for number in range(len(self.classes))
        ]

    def defers_metric(self, name: str) -> bool:
        """Return whether it is a metric of one class, whose names training learns."""
        return not self.classes and name.startswith(("precision_", "recall_"))

    def undefined(
        self,
        metric: Metric,
        labels: Floats,
        codes: Any,  # noqa: ARG002
        clusters: int,  # noqa: ARG002
    ) -> str:
        kind, _, name = metric.name.partition("_")
        if kind != "recall" or name not in self.classes:
            return ""
        known = (labels == self.classes.index(name)).any()
        return "" if known else f"no row is of class {name!r}"

    def margin_unit(self, metric: str, labels: Floats) -> float:  # noqa: ARG002
        return 1.0

    def class_of(self, predictions: Floats) -> Any:
        import numpy as np

        return np.array(self.classes, dtype=object)[predictions.argmax(axis=1)]

    def label_of(self, labels: Floats) -> Any:
        import numpy as np

        return np.array(self.classes, dtype=object)[labels.astype(np.int64)]


def _largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def _is_probability(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= 1  # type: ignore[arg-type,operator]
