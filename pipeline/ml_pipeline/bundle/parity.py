"""Compares the model that will be served with the one that was trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.bundle.reader import MODEL, OnnxModel
from ml_pipeline.bundle.writer import read_schema
from ml_pipeline.core.artefacts import GOLDEN_COLUMN, PARITY_FILE
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.data import parquet
from ml_pipeline.tasks.base import from_column
from ml_pipeline.tasks.loader import read_task
from ml_pipeline.training.estimators.loader import load_estimator
from ml_pipeline.training.training_record import TrainingRecord

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.tasks.base import Task

LEAST_RANDOM = 10_000


@dataclass(frozen=True)
class Parity:
    """The checks, and the largest difference of each."""

    checks: tuple[Check, ...]
    metrics: dict[str, Any]


def compare(model: Path, training: TrainingRecord) -> Parity:
    """Compare ``model.onnx``, and the native file where there is one, with the trained model.

    ``parity.parquet`` has the trained model's predictions for golden and random rows. The native
    model is not calibrated, so it is compared only where the model has no calibration.

    Raises:
        Refused: a model cannot be loaded, or the rows do not fit its schema.
    """
    task = read_task(training.task)
    schema = read_schema(model)
    frame = parquet.read(model / PARITY_FILE)
    encoded = schema.encode({name: frame[name].to_numpy() for name in schema.names})
    expected = from_column(frame[task.column])
    is_golden = frame[GOLDEN_COLUMN].to_numpy(dtype=bool)
    onnx = OnnxModel(model / MODEL, task).predict(encoded)
    checks = [
        _agreement("ONNX on golden rows", onnx[is_golden], expected[is_golden], 1, task),
        _agreement(
            "ONNX on random rows", onnx[~is_golden], expected[~is_golden], LEAST_RANDOM, task
        ),
    ]
    estimator = load_estimator(training.estimator)
    if estimator.native_file is not None and (model / estimator.native_file).is_file():
        name = f"native {estimator.title} on all rows"
        if training.calibration == "none":
            predicted = estimator.predict_native(model / estimator.native_file, encoded)
            if task.label_scale is not None:  # the native model predicts scaled labels
                mean, scale = task.label_scale
                predicted = mean + scale * predicted
            checks.append(_agreement(name, predicted, expected, 1, task))
        else:
            why = f"the probabilities are calibrated ({training.calibration}) after it"
            checks.append(Check(name=name, verdict=Verdict.SKIPPED, why=why))
    metrics = {check.name: check.observed for check in checks if check.observed is not None}
    return Parity(tuple(checks), metrics)


def _agreement(
    name: str,
    found: NDArray[np.float64],
    expected: NDArray[np.float64],
    least: int,
    task: Task,
) -> Check:
    """Return whether all rows agree; too few rows, or a value that is not a number, fails."""
    import numpy as np

    bound = f"at most {task.tolerance:g} from the trained model"
    if len(expected) < least or found.shape != expected.shape:
        return Check(
            name=name,
            verdict=Verdict.FAIL,
            observed=f"{len(found)} answers to {len(expected)} rows",
            expected=f"at least {least} rows",
            why="nothing is proved by too few rows",
        )
    difference = np.abs(found - expected)
    if difference.ndim > 1:
        difference = difference.max(axis=1)
    agrees = difference <= task.tolerance
    worst = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
    return Check(
        name=name,
        verdict=Verdict.PASS if bool(agrees.all()) else Verdict.FAIL,
        observed=float(difference[worst]),
        expected=bound,
        why=""
        if agrees.all()
        else f"{int((~agrees).sum())} of {len(expected)} rows differ, the worst is row {worst}: "
        f"{_shown(found[worst])} instead of {_shown(expected[worst])}",
    )


def _shown(value: Any) -> str:
    return ", ".join(f"{each:.6g}" for each in value) if value.ndim else f"{value:.6g}"
