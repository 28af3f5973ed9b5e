"""What a task is: the kind of label that a model predicts, and all that follows from it.

A third party's task is a class named by an entry point of the group ``ml_pipeline.tasks``. It is a
subclass of :class:`Task`, made without arguments for a project (``problem.task`` names it) and with
what training learned for a bundle, whose manifest records it.

The server imports this module: it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.tasks.metrics import Metric

    Floats = NDArray[np.float64]

Value = float | tuple[float, ...]
"""The prediction of one row: a number, or one probability a class."""


ObjectiveKind = Literal["binary", "multiclass", "regression"]
PlotKind = Literal[
    "calibration", "confusion_matrix", "histogram", "predicted_against_actual", "residuals", "roc"
]


@dataclass(frozen=True)
class Objective:
    """What an estimator has to learn, and how many columns its ONNX output has.

    Attributes:
        kind: ``binary``: labels are 0 and 1, and the estimator predicts the probability of class 1
            [n]. ``multiclass``: labels are 0 .. ``outputs`` - 1, and it predicts probabilities
            [n, outputs]. ``regression``: labels are numbers, standardised by ``Task.label_scale``,
            and it predicts a number [n].
        outputs: Columns of the ONNX output: one a class; 1 for a regression.
    """

    kind: ObjectiveKind
    outputs: int


class Task(Protocol):
    """The kind of label that a model predicts.

    Predictions are float64: [n] where a row's prediction is a number, [n, k] where it is one number
    a class. Labels are float64 [n].
    """

    name: ClassVar[str]
    """As ``problem.task`` names it."""
    title: ClassVar[str]
    """What a model of it is called: "binary classifier"."""
    answers: ClassVar[str]
    """What a row is answered with, as the model card says it."""
    primary_metric: ClassVar[str]
    """The metric that the gate compares by where neither project nor problem names another."""
    training_metric: ClassVar[str]
    """The metric of parameter search and of the comparison with the baseline; lower is better."""
    group_metrics: ClassVar[tuple[str, ...]]
    """Metrics that rows alone define, for the comparison of groups."""
    summary_metrics: ClassVar[tuple[str, ...]]
    """Metrics of the one line of the stage evaluate, before the comparison with the baseline."""
    summary_format: ClassVar[str]
    """Format specification of a metric's value in that line."""
    baseline: ClassVar[str]
    """Name of the constant predictor, learned on the training labels."""
    baseline_title: ClassVar[str]
    linear_baseline: ClassVar[str]
    """Name of the linear model among the baselines, as the reports spell it."""
    calibrations: ClassVar[tuple[str, ...]]
    """The values of ``train.calibration`` that it takes."""
    answer_example: ClassVar[str]
    """Keys of an answer as an example shows them, of no model in particular."""
    invocation_example: ClassVar[str]
    column: ClassVar[str]
    """Column of predictions in Parquet files of the model."""
    golden_key: ClassVar[str]
    """Key of the predictions in ``golden.json``."""
    log_key: ClassVar[Literal["probability", "prediction", "probabilities"]]
    """Key of the predictions in the prediction log."""
    plots: ClassVar[tuple[PlotKind, ...]]
    """Plots of the model's predictions for the holdout, at least one: ``pages/evaluate.png``."""

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics by name, in the order of tables."""

    @property
    def objective(self) -> Objective:
        """What an estimator has to learn; of a multi-class task it is complete after training."""

    # --- what training learns, and what the manifest records ------------------------------

    def learned(self, classes: Sequence[str], train: Floats) -> Self:
        """Return the task with what the labels of the training part tell it.

        Args:
            classes: the names of the label's values, where it has any.
            train: the labels of the training part.
        """

    def calibrated(self, labels: Floats, predictions: Floats, reference: Floats) -> Self:
        """Return the task with what the fitted model's predictions tell it.

        Args:
            labels: of the validation part.
            predictions: of the validation part.
            reference: predictions for rows of the training part.
        """

    def to_json(self) -> dict[str, Any] | None:
        """Return what ``from_json`` makes the same task of; None for the default task."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the task that a manifest records.

        Raises:
            ValueError: the record is not of this task.
        """

    # --- labels ----------------------------------------------------------------------------

    def check_labels(self, known: Floats) -> None:
        """Raise Refused where a label is not one of this task; ``known`` has no NaN."""

    def training_fault(self, labels: Floats) -> str:
        """Return why no model can be fitted to these labels; empty where one can."""

    def check_part(self, part: str, labels: Floats) -> None:
        """Raise Refused where a part of the split lacks labels that it needs."""

    def label_summary(self, labels: Floats) -> dict[str, Any]:
        """Return what reports and the training record say of labels; keys are snake case."""

    def unit_summary(  # by default nothing
        self,
        labels: Floats,  # noqa: ARG002
        codes: Any,  # noqa: ARG002
        clusters: int,  # noqa: ARG002
    ) -> dict[str, int]:
        """Return what the report of evaluate says of the sample's units (days or clusters).

        Args:
            labels: of the sample [n].
            codes: each row's unit, from 0 to ``clusters`` - 1 [n].
            clusters: how many units there are.
        """
        return {}

    def card_rows(self) -> Sequence[tuple[str, str]]:
        """Return rows of the model card's table about what training learned of the labels."""

    # --- predictions -----------------------------------------------------------------------

    @property
    def output_column(self) -> int | None:
        """The column of the ONNX output that is the prediction; None: all of them."""

    def invalid(self, predictions: Floats) -> NDArray[np.bool_]:
        """Return which rows' predictions are none of this task [n]."""

    @property
    def prediction_noun(self) -> str:
        """What a valid prediction is called: "probability"."""

    @property
    def tolerance(self) -> float:
        """Largest difference between predictions that count as the same."""

    @property
    def label_scale(self) -> tuple[float, float] | None:
        """Mean and scale that labels are standardised by for estimators; None: they are not.

        Estimators then predict standardised numbers, and training, export and parity test undo it.
        """
        return None

    @property
    def score_columns(self) -> Mapping[str, str]:
        """Columns that ``ml-pipeline score`` writes for a prediction: ``number`` or ``text``."""

    def score_values(self, predictions: Floats) -> Mapping[str, Sequence[Any]]:
        """Return the values of ``score_columns`` for predictions."""

    def answer(self, value: Value) -> dict[str, Any]:
        """Return what the server answers to a row, without the model's version."""

    def read(self, answer: Mapping[str, Any]) -> Value:
        """Return the prediction in an answer.

        Raises:
            ValueError: a key is missing, or a value is none of this task.
        """

    def invocation(self, value: Value) -> Any:
        """Return what ``/invocations`` answers to a row."""

    def answer_schema(self) -> dict[str, Any]:
        """Return the JSON schemas of the keys of ``answer``."""

    def invocation_schema(self) -> dict[str, Any]:
        """Return the JSON schema of what ``invocation`` returns."""

    def metadata(self) -> dict[str, Any]:
        """Return what ``/metadata`` says beside the task's name."""

    def pyfunc(self, predictions: Floats) -> Any:
        """Return what MLflow's ``pyfunc`` model returns for predictions."""

    # --- drift and shadow ------------------------------------------------------------------

    @property
    def bins(self) -> tuple[float, ...]:
        """Upper bounds of the histogram of served predictions."""

    def histogram_value(self, value: Value) -> float:
        """Return the number of a prediction that the histogram counts."""

    def histogram_values(self, predictions: Floats) -> Floats:
        """Return :meth:`histogram_value` of each row [n]."""

    @property
    def change_unit(self) -> str:
        """Return the unit of :meth:`changes` as messages name it; empty for probabilities."""

    def changes(self, one: Floats, other: Floats) -> Floats:
        """Return how far the second predictions lie from the first [n], 1 being a large change."""

    def decisions(self, predictions: Floats, threshold: float) -> NDArray[Any] | None:
        """Return the decision that follows from each prediction [n]; None where none follows."""

    # --- evaluation ------------------------------------------------------------------------

    def targets(self, labels: Floats) -> Floats:
        """Return what predictions estimate: the labels [n], or one column a class [n, k]."""

    def linear(self, train: Floats, labels: Floats, rows: Floats, seed: int) -> Floats:
        """Return the predictions of a linear model for standardised features [n, width].

        Args:
            train: the training rows' standardised features [t, width].
            labels: their labels [t].
            rows: the standardised features of the rows to predict.
            seed: of the solver.

        Raises:
            Refused: no model can be fitted to the labels.
        """

    def dated_baselines(self, train: pd.DataFrame, rows: pd.DataFrame) -> Mapping[str, Floats]:
        """Return further baselines for dated rows, by name.

        Args:
            train: keys and labels of the training part, ``__time``, ``__entity``, ``__label``.
            rows: keys of the rows to predict.
        """

    def binary_labels(self, train: Floats, holdout: Floats) -> Sequence[tuple[Floats, Floats]]:
        """Return 0/1 labels of both parts by which the AUC of one feature alone is measured."""

    def defers_metric(self, name: str) -> bool:
        """Return whether a metric of this name may exist once the labels are known."""

    def undefined(self, metric: Metric, labels: Floats, codes: Any, clusters: int) -> str:
        """Return why labels do not define a metric; empty where they do."""

    def margin_unit(self, metric: str, labels: Floats) -> float:
        """Return what margins of the gate are multiples of."""

    def class_of(self, predictions: Floats) -> Any:
        """Return what ``predict`` of the fixture ``new_model`` returns for predictions."""

    def label_of(self, labels: Floats) -> Any:
        """Return labels as the fixture ``y_test`` holds them."""


def difference(one: Value, other: Value) -> float:
    """Return the largest difference of two predictions; infinite if their lengths differ."""
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return max(abs(first - second) for first, second in zip(one, other, strict=True))
    if isinstance(one, tuple) or isinstance(other, tuple):
        return float("inf")
    return abs(one - other)


def values_of(predictions: Floats) -> list[Value]:
    """Return predictions [n] or [n, k] as one value a row."""
    found = predictions.tolist()
    return [tuple(row) for row in found] if predictions.ndim > 1 else found


def as_column(predictions: Floats) -> Any:
    """Return predictions as a column of a table: numbers, or a list a row."""
    return predictions if predictions.ndim == 1 else list(predictions)


def from_column(column: Any) -> Floats:
    """Return predictions [n] or [n, k] from a column of a table."""
    import numpy as np

    if column.dtype.kind == "f" or not len(column):
        return np.asarray(column, dtype=np.float64)
    first = column.iloc[0]
    if isinstance(first, list | tuple | np.ndarray):
        return np.stack(column.to_list()).astype(np.float64)
    return np.asarray(column, dtype=np.float64)
