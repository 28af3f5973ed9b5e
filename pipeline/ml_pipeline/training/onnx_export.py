"""A trained model as ONNX, and the proof that both give the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml_pipeline.core.errors import Refused
from ml_pipeline.core.onnx_session import TOLERANCE, open_session
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.training.onnx_graph import INPUT, OnnxGraph

if TYPE_CHECKING:
    from ml_pipeline.tasks.base import Task
    from ml_pipeline.training.estimators.base import Encoded, Vector
    from ml_pipeline.training.fitting import Model

"""Largest difference of a probability between the model in memory and its ONNX form; of a number
in standard deviations of the training labels."""


def to_onnx(model: Model, width: int) -> bytes:
    """Return the ONNX model: input ``features`` float32 [n, width], output float32 [n, columns].

    The number of columns is that of the task's objective.

    Raises:
        Refused: the converter cannot take this model.
    """
    graph = OnnxGraph(width)
    try:
        return graph.finish(model.add_to(graph), model.task.objective.outputs)
    except MemoryError:
        raise
    except Exception as error:
        lines = str(error).splitlines()
        raise Refused(
            f"{model.estimator.name} cannot be exported: {type(error).__name__}: "
            f"{lines[0] if lines else 'no reason given'}",
            hint="change train.params, or choose another train.estimator",
        ) from error


def prove(model: Model, onnx: bytes, x: Encoded) -> float:
    """Return the largest difference between the model and its export over encoded rows.

    Args:
        model: the model in memory.
        onnx: its export.
        x: float32 [n, width], missing values included.

    Raises:
        Refused: they differ by more than 1e-5, one of them is not finite, or there is no row.
    """
    name = model.estimator.name
    task = model.task
    difference = np.abs(predict(onnx, x, task) - model.predict(x))
    if not len(difference) or not np.isfinite(difference).all():
        raise Refused(
            f"{name}: {(~np.isfinite(difference)).sum()} of {len(difference)} answers "
            "of the model or its export are not finite",
            expected=f"a finite {task.prediction_noun.removeprefix('finite ')} for every row",
        )
    largest = float(difference.max()) / (task.tolerance / TOLERANCE)
    if largest > TOLERANCE:
        raise Refused(
            f"{name}: the exported model differs from the trained one by {largest:.2g}",
            expected=f"at most {TOLERANCE:g}",
            hint="change train.params or train.calibration, or choose another train.estimator",
        )
    return largest


def predict(onnx: bytes, x: Encoded, task: Task = BINARY) -> Vector:
    """Return the predictions that ONNX Runtime computes, [n] or [n, k]."""
    (found,) = open_session(onnx).run(None, {INPUT: x})
    column = task.output_column
    return np.asarray(found if column is None else found[:, column], dtype=np.float64)
