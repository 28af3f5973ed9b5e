"""An estimator of the project's own: any scikit-learn-like object that converts to ONNX.

Its code runs in another process, which ``EstimatorProcess`` starts. The ONNX model and the
predictions of the fitted object are all that comes back, and they must agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Never, Protocol

import numpy as np
from pydantic import ConfigDict

from ml_pipeline.config import Section
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.onnx_session import TOLERANCE, open_session
from ml_pipeline.core.report import Check, Progress, Verdict
from ml_pipeline.training.estimators.base import (
    Encoded,
    FitSettings,
    LabelledRows,
    Objective,
    ObjectiveKind,
    Predictions,
)
from ml_pipeline.training.onnx_graph import INPUT, OPSETS, OnnxGraph

"""Largest difference between a prediction of the fitted object and of its ONNX model."""
MISSING = 0.1
"""Share of missing values in the random rows that the export is tested on."""
RANDOM = 2000


class OwnParameters(Section):
    """Keyword arguments for the project's class or function; it checks them itself."""

    model_config = ConfigDict(frozen=True, extra="allow")


@dataclass(frozen=True)
class FitRequest:
    """A fit in another process, and the rows to predict there afterwards."""

    objective: Objective
    train: LabelledRows
    params: Mapping[str, Any]
    settings: FitSettings
    tested: Encoded


@dataclass(frozen=True)
class FitResult:
    """The ONNX model and what the fitted object itself predicts for the tested rows."""

    onnx: bytes
    predictions: Predictions


class EstimatorProcess(Protocol):
    """Runs fits of the project's own code."""

    def fit(self, request: FitRequest) -> FitResult:
        """Fit, convert and predict.

        Raises:
            UsageError: the code cannot be imported, or fails.
            Refused: the fitted object does not convert, or cannot predict the tested rows.
        """


@dataclass(frozen=True)
class OwnModel:
    """The ONNX model of a fitted object, after the comparison of their predictions."""

    onnx: bytes
    objective: Objective
    difference: float
    tested: int
    best_round: ClassVar[int | None] = None

    def predict(self, x: Encoded) -> Predictions:
        return predict(self.onnx, x, self.objective)

    def add_to(self, graph: OnnxGraph) -> str:
        import onnx

        model = onnx.load_from_string(self.onnx)
        return graph.include(model, INPUT, output_of(self.objective))

    def native(self) -> None:
        return None

    def converged(self) -> Check:
        return Check(
            name="conversion of the project's estimator",
            verdict=Verdict.PASS,
            observed=self.difference,
            expected=f"ONNX within {TOLERANCE:g} of the fitted object on {self.tested} rows",
        )


class OwnEstimator:
    """The estimator that ``train.estimator: module:Name`` names.

    Without a process it describes the estimator and cannot fit it.
    """

    title = "the project's estimator"
    Parameters = OwnParameters
    objectives: ClassVar[tuple[ObjectiveKind, ...]] = ("binary", "multiclass", "regression")
    packages: ClassVar[dict[str, str]] = {}
    native_file = None

    def __init__(self, reference: str, process: EstimatorProcess | None = None) -> None:
        self.name = reference
        self._process = process

    def fit(
        self,
        objective: Objective,
        train: LabelledRows,
        validation: LabelledRows,
        params: OwnParameters,
        settings: FitSettings,
        progress: Progress,
    ) -> OwnModel:
        """Fit in the process and compare the ONNX model with the fitted object.

        Raises:
            UsageError: the project's code is at fault.
            Refused: the fitted object does not convert, or its ONNX model predicts otherwise.
        """
        if self._process is None:
            raise ValueError(f"{self.name} can be fitted only where its process runs")
        progress(f"fitting {self.name}", 0.0)
        tested = rows_to_test(train, validation, settings.seed)
        request = FitRequest(objective, train, params.model_dump(), settings, tested)
        result = self._process.fit(request)
        check_model(self.name, result.onnx, objective, train.x.shape[1])
        predicted = predict(result.onnx, tested, objective)
        if predicted.shape != result.predictions.shape:
            raise Refused(
                f"{self.name} predicts an array of shape {result.predictions.shape} and its ONNX "
                f"model one of {predicted.shape}",
                expected=f"{objective.outputs} classes, numbered from 0"
                if objective.kind != "regression"
                else "one number a row",
            )
        difference = np.abs(predicted - result.predictions)
        largest = float(np.where(np.isfinite(difference), difference, np.inf).max())
        if largest > TOLERANCE:
            raise Refused(
                f"{self.name}: its ONNX model predicts otherwise than the fitted object, by up to "
                f"{largest:.2g}",
                expected=f"at most {TOLERANCE:g} on {len(tested)} rows with missing values",
                hint="use steps that convert faithfully: see docs/how-to/own-estimator.md",
            )
        progress(f"fitting {self.name}", 1.0)
        return OwnModel(result.onnx, objective, largest, len(tested))

    def predict_native(self, path: Path, x: Encoded) -> Never:
        raise NotImplementedError(f"{self.name} has no native file")


def output_of(objective: Objective) -> str:
    """Return the name of the converter's output with the predictions."""
    return "variable" if objective.kind == "regression" else "probabilities"


def rows_to_test(train: LabelledRows, validation: LabelledRows, seed: int) -> Encoded:
    """Return rows to compare the export on: validation rows and random ones.

    Random rows draw each column from the training rows, half of them moved beyond its range, and a
    tenth of their values is missing.
    """
    generator = np.random.default_rng(seed)
    drawn = np.stack(
        [column[generator.integers(0, len(column), RANDOM)] for column in train.x.T], axis=1
    )
    span = np.nan_to_num(np.nanmax(_filled(train.x), axis=0) - np.nanmin(_filled(train.x), axis=0))
    shift = generator.uniform(-0.2, 0.2, drawn.shape) * span
    drawn[::2] += shift[::2].astype(np.float32)
    drawn[generator.random(drawn.shape) < MISSING] = np.nan
    return np.concatenate([validation.x, drawn.astype(np.float32)])


def _filled(x: Encoded) -> Encoded:
    """Return the rows with 0 in columns that have no value at all."""
    empty = np.isnan(x).all(axis=0)
    return np.where(empty, np.float32(0), x)


def check_model(name: str, content: bytes, objective: Objective, width: int) -> None:
    """Refuse bytes that are no ONNX model of the form that is served.

    Raises:
        Refused: it cannot be read, refers to other files, has operators of its own, or other inputs
            or outputs.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise Refused(
            f"{name}: its export is no ONNX model: {str(error).splitlines()[0]}"
        ) from None
    if any(tensor.external_data for tensor in model.graph.initializer):
        raise Refused(f"{name}: its ONNX model refers to other files")
    foreign = {node.domain for node in model.graph.node} - set(OPSETS)
    later = [one.domain for one in model.opset_import if one.version > OPSETS.get(one.domain, 0)]
    if foreign or later or model.functions:
        raise Refused(
            f"{name}: its ONNX model has operators of {', '.join(sorted(foreign | {*later}))}",
            expected="operators of ONNX itself, which every server has",
        )
    inputs = [entry.name for entry in model.graph.input]
    outputs = {output.name for output in model.graph.output}
    if inputs != [INPUT] or output_of(objective) not in outputs:
        raise Refused(
            f"{name}: its ONNX model has inputs {inputs} and outputs {sorted(outputs)}",
            expected=f"input {INPUT} of {width} columns and output {output_of(objective)}",
        )


def predict(content: bytes, x: Encoded, objective: Objective) -> Predictions:
    """Return what the ONNX model predicts for encoded rows."""
    (output,) = open_session(content).run([output_of(objective)], {INPUT: x})
    values = np.asarray(output, dtype=np.float64)
    if objective.kind == "regression":
        return values.reshape(len(x))
    return values[:, 1] if objective.kind == "binary" else values
