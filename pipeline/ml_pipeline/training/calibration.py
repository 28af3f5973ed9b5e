"""Probability calibration: a curve fitted on the validation part, with ONNX nodes of its own.

scikit-learn's CalibratedClassifierCV does not convert to ONNX reliably, so the two usual curves
are here, as functions of the estimator's probability that export exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from ml_pipeline.core.errors import Refused
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.training.onnx_graph import OnnxGraph, one_column, two_columns

if TYPE_CHECKING:
    from ml_pipeline.config import Calibration
    from ml_pipeline.training.estimators.base import Vector

MIN_PROBABILITY = 1e-6
"""Probabilities are clipped to this distance from 0 and 1 before their logit is taken."""
CELLS = 64
"""Cells of the isotonic curve: no slope can blow the last bits of a float32 up past 1e-5."""
CELL_ROWS = 30
MIN_ROWS = 50
MIN_ISOTONIC_ROWS = 1000
"""scikit-learn's user guide, "Probability calibration", advises against isotonic below that."""
MIN_KNOTS = 5


class Curve(Protocol):
    """A function of the estimator's probability of class 1, in memory and in ONNX."""

    def apply(self, probability: Vector) -> Vector: ...

    def add_to(self, graph: OnnxGraph, probabilities: str) -> str:
        """Add the nodes after an output of float32 [n, 2]; return the same form."""

    def check(self) -> Check: ...


@dataclass(frozen=True)
class Sigmoid:
    """``sigmoid(slope * logit(p) + offset)``."""

    slope: float
    offset: float
    in_place_of: str = ""
    """Why it was fitted although the configuration names another curve."""

    def apply(self, probability: Vector) -> Vector:
        from scipy.special import expit

        return np.asarray(expit(self.slope * _logit(probability) + self.offset))

    def add_to(self, graph: OnnxGraph, probabilities: str) -> str:
        low, high = (
            graph.constant(value, np.float64) for value in (MIN_PROBABILITY, 1.0 - MIN_PROBABILITY)
        )
        clipped = graph.node("Clip", one_column(graph, probabilities), low, high)
        odds = graph.node(
            "Div", clipped, graph.node("Sub", graph.constant([[1.0]], np.float64), clipped)
        )
        scaled = graph.node("Mul", graph.node("Log", odds), _cell(graph, self.slope))
        shifted = graph.node("Add", scaled, _cell(graph, self.offset))
        return two_columns(graph, graph.node("Sigmoid", shifted))

    def check(self) -> Check:
        keeps = self.slope > 0
        return Check(
            name="calibration",
            verdict=Verdict.PASS if keeps else Verdict.FAIL,
            required=False,
            observed={"slope": self.slope, "offset": self.offset},
            expected="a slope over 0, so that the order of the rows is kept",
            why=self.in_place_of
            if keeps
            else "on the validation part the estimator ranks worse than chance",
        )


@dataclass(frozen=True)
class Isotonic:
    """A rising curve, linear between knots and flat outside them."""

    at: Vector
    value: Vector

    def apply(self, probability: Vector) -> Vector:
        return np.interp(probability, self.at, self.value)

    def add_to(self, graph: OnnxGraph, probabilities: str) -> str:
        probability = one_column(graph, probabilities)
        start = graph.constant(self.at[None, :-1], np.float64)
        past = graph.node("Max", graph.node("Sub", probability, start), _cell(graph, 0.0))
        steps = np.diff(self.at)
        inside = graph.node("Min", past, graph.constant(steps[None, :], np.float64))
        slopes = graph.constant((np.diff(self.value) / steps)[:, None], np.float64)
        rise = graph.node("MatMul", inside, slopes)
        return two_columns(graph, graph.node("Add", rise, _cell(graph, float(self.value[0]))))

    def check(self) -> Check:
        rises = bool(self.value[-1] > self.value[0])
        return Check(
            name="calibration",
            verdict=Verdict.PASS if rises else Verdict.FAIL,
            required=False,
            observed={"knots": len(self.at), "from": self.value[0], "to": self.value[-1]},
            expected="a curve that rises",
            why="" if rises else "on the validation part the estimator ranks no better than chance",
        )


def calibrate(kind: Calibration, probability: Vector, label: Vector) -> Curve | None:
    """Fit the curve that turns ``probability`` into the rate of ``label``; both of shape [n].

    A sigmoid is fitted in place of an isotonic curve that few rows or knots would make a step
    function: it merges ranks, and so loses what the estimator has learned. Its check reports that.

    Raises:
        Refused: too few rows, or a single class.
    """
    if kind == "none":
        return None
    positive = int(label.sum())
    if len(label) < MIN_ROWS or positive in (0, len(label)):
        raise Refused(
            f"{kind} calibration: the validation part has {len(label)} rows, {positive} of class 1",
            expected=f"at least {MIN_ROWS} rows of both classes",
            hint="raise split.validation_days or set train.calibration to none",
        )
    if kind == "sigmoid":
        return _sigmoid(probability, label)
    if len(label) < MIN_ISOTONIC_ROWS:
        return replace(
            _sigmoid(probability, label),
            in_place_of=f"sigmoid in place of isotonic, which needs {MIN_ISOTONIC_ROWS:,} rows: "
            f"the validation part has {len(label):,}",
        )
    curve = _isotonic(probability, label)
    knots = len(np.unique(curve.value))
    if knots < MIN_KNOTS:
        return replace(
            _sigmoid(probability, label),
            in_place_of=f"sigmoid in place of isotonic, whose curve has {knots} distinct values on "
            f"the validation part; at least {MIN_KNOTS} keep the order of the rows",
        )
    return curve


def _sigmoid(probability: Vector, label: Vector) -> Sigmoid:
    """Fit by Newton's method on Platt's smoothed targets (Platt 1999; Lin, Lin, Weng 2007)."""
    from scipy.special import expit

    positive = label.sum()
    negative = len(label) - positive
    target = np.where(label == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    design = np.stack([_logit(probability), np.ones(len(label))], axis=1)
    ridge = 1e-9 * len(label) * np.eye(2)
    coefficients = np.array([0.0, np.log(target.mean() / (1 - target.mean()))])

    def loss(at: Vector) -> float:
        score = design @ at
        return float((np.logaddexp(0.0, score) - target * score).sum())

    for _ in range(100):
        fitted = expit(design @ coefficients)
        gradient = design.T @ (fitted - target)
        hessian = (design * (fitted * (1 - fitted))[:, None]).T @ design + ridge
        step = np.linalg.solve(hessian, gradient)
        share = 1.0
        while loss(coefficients - share * step) > loss(coefficients) and share > 1e-6:
            share /= 2
        coefficients = coefficients - share * step
        if np.abs(share * step).max() < 1e-10:
            break
    return Sigmoid(slope=float(coefficients[0]), offset=float(coefficients[1]))


def _isotonic(probability: Vector, label: Vector) -> Isotonic:
    """Pool adjacent violators over cells of 1/64 and 30 rows; values stay clear of 0 and 1."""
    from sklearn.isotonic import isotonic_regression

    cell = np.rint(probability * CELLS).astype(np.int64)
    cells, inverse, count = np.unique(cell, return_inverse=True, return_counts=True)
    group = _grouped(count)
    weight = np.bincount(group, weights=count)
    at = np.bincount(group, weights=count * cells) / weight / CELLS
    rate = np.bincount(group[inverse], weights=label) / weight
    least = 1 / (len(label) + 2)
    value = isotonic_regression(rate, sample_weight=weight, y_min=least, y_max=1 - least)
    return Isotonic(at=at, value=np.asarray(value, dtype=np.float64))


def _grouped(count: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return each cell's group; neighbours join until a group has 30 rows, the rest the last."""
    group = np.zeros(len(count), dtype=np.int64)
    number, size = 0, 0
    for place, rows in enumerate(count):
        group[place] = number
        size += int(rows)
        if size >= CELL_ROWS:
            number, size = number + 1, 0
    if size and number:
        group[group == number] = number - 1
    return group


def _logit(probability: Vector) -> Vector:
    clipped = np.clip(probability, MIN_PROBABILITY, 1.0 - MIN_PROBABILITY)
    return np.asarray(np.log(clipped / (1.0 - clipped)))


def _cell(graph: OnnxGraph, value: float) -> str:
    return graph.constant([[value]], np.float64)
