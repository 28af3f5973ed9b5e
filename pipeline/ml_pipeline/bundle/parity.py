"""Compares the model that will be served with the one that was trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.bundle.reader import MODEL, TOLERANCE, OnnxModel
from ml_pipeline.bundle.writer import IS_GOLDEN, PARITY, PROBABILITY, read_schema
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.data import parquet
from ml_pipeline.training.estimators.loader import load_estimator
from ml_pipeline.training.training_record import TrainingRecord

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_RANDOM = 10_000


@dataclass(frozen=True)
class Parity:
    """The checks, and the largest difference of each."""

    checks: tuple[Check, ...]
    metrics: dict[str, Any]


def compare(model: Path, training: TrainingRecord) -> Parity:
    """Compare ``model.onnx``, and the native file where there is one, with the trained model.

    What the trained model answered on golden and random rows lies in ``parity.parquet``. The native
    model knows nothing of a calibration that comes after it, so it is compared only without one.

    Raises:
        Refused: a model cannot be loaded, or the rows do not fit its schema.
    """
    schema = read_schema(model)
    frame = parquet.read(model / PARITY)
    encoded = schema.encode({name: frame[name].to_numpy() for name in schema.names})
    expected = frame[PROBABILITY].to_numpy(dtype="float64")
    is_golden = frame[IS_GOLDEN].to_numpy(dtype=bool)
    onnx = OnnxModel(model / MODEL).predict(encoded)
    checks = [
        _agreement("ONNX on golden rows", onnx[is_golden], expected[is_golden], least=1),
        _agreement("ONNX on random rows", onnx[~is_golden], expected[~is_golden], LEAST_RANDOM),
    ]
    estimator = load_estimator(training.estimator)
    if estimator.native_file is not None and (model / estimator.native_file).is_file():
        name = f"native {estimator.title} on all rows"
        if training.calibration == "none":
            predicted = estimator.predict_native(model / estimator.native_file, encoded)
            checks.append(_agreement(name, predicted, expected, least=1))
        else:
            why = f"the probabilities are calibrated ({training.calibration}) after it"
            checks.append(Check(name=name, verdict=Verdict.SKIPPED, why=why))
    metrics = {check.name: check.observed for check in checks if check.observed is not None}
    return Parity(tuple(checks), metrics)


def _agreement(
    name: str, found: NDArray[np.float64], expected: NDArray[np.float64], least: int
) -> Check:
    """Return whether all rows agree; too few rows, or one that is not a number, is no agreement."""
    import numpy as np

    bound = f"at most {TOLERANCE:g} from the trained model"
    if len(expected) < least or found.shape != expected.shape:
        return Check(
            name=name,
            verdict=Verdict.FAIL,
            observed=f"{len(found)} answers to {len(expected)} rows",
            expected=f"at least {least} rows",
            why="nothing is proved by too few rows",
        )
    difference = np.abs(found - expected)
    agrees = difference <= TOLERANCE
    worst = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
    return Check(
        name=name,
        verdict=Verdict.PASS if bool(agrees.all()) else Verdict.FAIL,
        observed=float(difference[worst]),
        expected=bound,
        why=""
        if agrees.all()
        else f"{int((~agrees).sum())} of {len(expected)} rows differ, the worst is row {worst}: "
        f"{found[worst]:.6g} instead of {expected[worst]:.6g}",
    )
