"""Binary classification: the label is 0 or 1, the prediction is the probability of class 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

NAME = "binary_classification"
BINS = tuple(number / 20 for number in range(1, 21))
FEWEST_OF_A_CLASS = 5
"""Rows of the rarer class in the training part: fewer say nothing about the next one."""
CUT = 0.5
"""Probability from which a row is labelled 1."""


class BinaryClassification(Task):
    """The label is 0 or 1; a row is answered with the probability of class 1."""

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "binary classifier"
    answers: ClassVar[str] = "the probability of class 1"
    primary_metric: ClassVar[str] = "log_loss"
    training_metric: ClassVar[str] = "log_loss"
    group_metrics: ClassVar[tuple[str, ...]] = (
        "log_loss",
        "brier_score",
        "auc",
        "accuracy",
        "calibration_error",
    )
    summary_metrics: ClassVar[tuple[str, ...]] = ("auc", "within_day_auc")
    summary_format: ClassVar[str] = ".2f"
    baseline: ClassVar[str] = "base_rate"
    baseline_title: ClassVar[str] = "base rate"
    linear_baseline: ClassVar[str] = "logistic_regression"
    calibrations: ClassVar[tuple[str, ...]] = ("none", "sigmoid", "isotonic")
    answer_example: ClassVar[str] = '"probability": 0.53'
    invocation_example: ClassVar[str] = "0.53"
    column: ClassVar[str] = "__probability"
    golden_key: ClassVar[str] = "probabilities"
    log_key = "probability"
    plots: ClassVar[tuple[PlotKind, ...]] = ("calibration", "histogram", "roc")
    change_unit: ClassVar[str] = ""
    prediction_noun = "probability"
    output_column = 1
    tolerance = TOLERANCE
    bins = BINS

    @property
    def metrics(self) -> Mapping[str, Metric]:
        from ml_pipeline.tasks.binary_metrics import METRICS

        return METRICS

    @property
    def objective(self) -> Objective:
        return Objective("binary", 2)

    # --- what training learns ---------------------------------------------------------------

    def learned(self, classes: Sequence[str], train: Floats) -> Self:  # noqa: ARG002
        return self

    def calibrated(
        self,
        labels: Floats,  # noqa: ARG002
        predictions: Floats,  # noqa: ARG002
        reference: Floats,  # noqa: ARG002
    ) -> Self:
        return self

    def to_json(self) -> dict[str, Any] | None:
        """Return None for this task itself: a record without a task is one of it."""
        return None if self.name == NAME else {"name": self.name}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        if values != {"name": cls.name}:
            raise ValueError(f"{cls.name} records its name only")
        return cls()

    # --- labels -----------------------------------------------------------------------------

    def check_labels(self, known: Floats) -> None:
        invalid_labels = known[(known != 0) & (known != 1)]
        if len(invalid_labels):
            raise Refused(
                f"{len(invalid_labels)} labels such as {invalid_labels[0]:g}", expected="0 or 1"
            )

    def training_fault(self, labels: Floats) -> str:
        if len(labels) and 0 < labels.mean() < 1:
            return ""
        return f"are of class {labels[0]:.0f}" if len(labels) else "are missing"

    def check_part(self, part: str, labels: Floats) -> None:
        fewest = FEWEST_OF_A_CLASS if part == "train" else 1
        for number, name in ((1, "positives"), (0, "negatives")):
            found = int((labels == number).sum())
            if found < fewest:
                raise Refused(
                    f"too few {name}: {found} of the {len(labels)} rows of the {part} part",
                    expected=f"at least {fewest}",
                    hint="bring more data, or raise the part's days or share in split",
                )

    def label_summary(self, labels: Floats) -> dict[str, Any]:
        return {"positive_rate": float(labels.mean())}

    def unit_summary(self, labels: Floats, codes: Any, clusters: int) -> dict[str, int]:
        return {"units_with_one_class": units_of_one_class(labels, codes, clusters)}

    def card_rows(self) -> Sequence[tuple[str, str]]:
        return ()

    # --- predictions ------------------------------------------------------------------------

    def invalid(self, predictions: Floats) -> NDArray[np.bool_]:
        import numpy as np

        found: NDArray[np.bool_] = ~(
            np.isfinite(predictions) & (predictions >= 0) & (predictions <= 1)
        )
        return found

    @property
    def score_columns(self) -> Mapping[str, str]:
        return {"probability": "number"}

    def score_values(self, predictions: Floats) -> Mapping[str, Sequence[Any]]:
        return {"probability": predictions}  # type: ignore[dict-item]

    def answer(self, value: Value) -> dict[str, Any]:
        return {"probability": value}

    def read(self, answer: Mapping[str, Any]) -> float:
        value = answer.get("probability")
        if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
            raise ValueError("the answer holds no probability")
        return float(value)  # type: ignore[arg-type]

    def invocation(self, value: Value) -> Any:
        return value

    def answer_schema(self) -> dict[str, Any]:
        return {"probability": {"type": "number", "minimum": 0, "maximum": 1}}

    def invocation_schema(self) -> dict[str, Any]:
        return {"type": "number"}

    def metadata(self) -> dict[str, Any]:
        return {}

    def pyfunc(self, predictions: Floats) -> Any:
        return predictions

    # --- drift and shadow -------------------------------------------------------------------

    def histogram_value(self, value: Value) -> float:
        assert not isinstance(value, tuple)
        return value

    def histogram_values(self, predictions: Floats) -> Floats:
        return predictions

    def changes(self, one: Floats, other: Floats) -> Floats:
        found: Floats = other - one
        return found

    def decisions(self, predictions: Floats, threshold: float) -> NDArray[Any] | None:
        found: NDArray[Any] = predictions >= threshold
        return found

    # --- evaluation -------------------------------------------------------------------------

    def targets(self, labels: Floats) -> Floats:
        return labels

    def linear(self, train: Floats, labels: Floats, rows: Floats, seed: int) -> Floats:
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        if len(np.unique(labels)) != 2:
            raise Refused("the training labels are of one class", expected="both classes")
        model = LogisticRegression(max_iter=1000, random_state=seed)
        model.fit(train, labels.astype(np.int64))
        probabilities: Floats = model.predict_proba(rows)[:, 1]
        return probabilities

    def dated_baselines(
        self,
        train: pd.DataFrame,  # noqa: ARG002
        rows: pd.DataFrame,  # noqa: ARG002
    ) -> Mapping[str, Floats]:
        return {}

    def binary_labels(self, train: Floats, holdout: Floats) -> Sequence[tuple[Floats, Floats]]:
        return [(train, holdout)]

    def defers_metric(self, name: str) -> bool:  # noqa: ARG002
        return False

    def undefined(self, metric: Metric, labels: Floats, codes: Any, clusters: int) -> str:
        if metric.name == "auc" and len(set(labels.tolist())) == 1:
            return f"every label is {labels[0]:g}, one class has no AUC"
        if metric.name == "within_day_auc" and units_of_one_class(labels, codes, clusters) == (
            clusters
        ):
            return "no day has both classes"
        return ""

    def margin_unit(self, metric: str, labels: Floats) -> float:  # noqa: ARG002
        return 1.0

    def class_of(self, predictions: Floats) -> Any:
        import numpy as np

        return (predictions >= CUT).astype(np.int64)

    def label_of(self, labels: Floats) -> Any:
        import numpy as np

        return labels.astype(np.int64)


BINARY = BinaryClassification()
"""The default task, where a project or a record names none."""


def units_of_one_class(labels: Floats, codes: Any, clusters: int) -> int:
    """Return how many clusters have one class only, and so no AUC of their own."""
    import numpy as np

    rows = np.bincount(codes, minlength=clusters)
    ups = np.bincount(codes, weights=labels, minlength=clusters)
    return int(((ups == 0) | (ups == rows)).sum())
