"""Fit of the project's own estimator in a confined process.

The code runs in a copy of the project (``ml_pipeline.project.isolation``). It reads arrays from a
file, without pickle, and writes the ONNX model, an array of predictions and a result in JSON, each
of bounded size.

``python -m ml_pipeline.project.estimator_process REQUEST`` is that process.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core import artefacts, documents, landlock
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import EnvironmentFault, PipelineError, Refused, UsageError
from ml_pipeline.core.project_modules import load_object
from ml_pipeline.project.isolation import IsolatedCopy, ProcessResult, isolated_copy
from ml_pipeline.project.test_context import move_search_path
from ml_pipeline.training.estimators.base import Estimator, FitSettings, Objective
from ml_pipeline.training.estimators.loader import is_own, load_estimator
from ml_pipeline.training.estimators.own import FitResult, OwnEstimator, output_of
from ml_pipeline.training.onnx_graph import INPUT, OPSETS

if TYPE_CHECKING:
    from ml_pipeline.project.protected_files import Protected
    from ml_pipeline.training.estimators.own import FitRequest

MODULE = "ml_pipeline.project.estimator_process"
KEY = "train.estimator"
ARRAYS, ONNX, PREDICTIONS, ANSWER = (
    "rows.npz",
    artefacts.ONNX_FILE,
    "predictions.npy",
    "answer.json",
)
MAX_ONNX = 256 << 20
ERRORS: tuple[type[PipelineError], ...] = (Refused, UsageError, EnvironmentFault)


@dataclass(frozen=True)
class _Request:
    """The request to the process, in JSON; the arrays are in a file of ``out``."""

    original: str
    root: str
    reference: str
    params: dict[str, Any]
    objective: dict[str, Any]
    settings: dict[str, Any]
    out: str


@contextmanager
def own_estimator(protected: Protected) -> Iterator[OwnEstimator]:
    """Yield the estimator that ``train.estimator`` names in the project, ready to be fitted.

    Files of ``protected`` that its code changes are listed in ``protected.changed``.

    Raises:
        EnvironmentFault: the project cannot be copied.
    """
    reference = protected.project.config.train.estimator
    with isolated_copy(protected) as place:
        yield OwnEstimator(reference, _Process(protected, place, reference))


@contextmanager
def configured_estimator(protected: Protected) -> Iterator[Estimator]:
    """Yield the estimator of ``train.estimator``: a plug-in, or the project's own.

    Raises:
        UsageError: no plug-in has that name.
        EnvironmentFault: the project cannot be copied.
    """
    name = protected.project.config.train.estimator
    if not is_own(name):
        yield load_estimator(name)
        return
    with own_estimator(protected) as estimator:
        yield estimator


@dataclass(frozen=True)
class _Process:
    protected: Protected
    place: IsolatedCopy
    reference: str

    def fit(self, request: FitRequest) -> FitResult:
        """Run the process once; see ``EstimatorProcess``."""
        import numpy as np

        place = self.place
        for name in (ONNX, PREDICTIONS, ANSWER):
            (place.out / name).unlink(missing_ok=True)
        with (place.out / ARRAYS).open("wb") as stream:
            np.savez(stream, x=request.train.x, y=request.train.y, tested=request.tested)
        process_request = _Request(
            original=str(place.original),
            root=str(place.root),
            reference=self.reference,
            params=dict(request.params),
            objective=asdict(request.objective),
            settings=asdict(request.settings),
            out=str(place.out),
        )
        with self.protected.detect_changes():
            process = place.run_module(
                MODULE, json.dumps(asdict(process_request)), variables={"PYTHONHASHSEED": "0"}
            )
        if process.exit_code != 0:
            raise self._error(process)
        limit = (1 << 20) + 8 * len(request.tested) * request.objective.outputs
        onnx, predictions = place.read(ONNX, MAX_ONNX), place.read(PREDICTIONS, limit)
        if onnx is None or predictions is None:
            raise Refused(
                f"{self.reference} wrote no ONNX model of at most {MAX_ONNX >> 20} MB",
                expected="an estimator that is fitted and converted",
            )
        return FitResult(onnx, _array(self.reference, predictions))

    def _error(self, process: ProcessResult) -> PipelineError:
        """Return the error that the process ended with."""
        content = self.place.read(ANSWER, documents.MAX_JSON)
        try:
            answer = documents.parse_json(content or b"", ANSWER)
            kind = {each.__name__: each for each in ERRORS}[answer["error"]]
            fault, expected, hint = (
                self.place.with_original_paths(str(answer[key]))
                for key in ("fault", "expected", "hint")
            )
        except (DocumentError, KeyError, TypeError):
            return UsageError(
                f"the process of {self.reference} {process}",
                expected="an estimator that is fitted and converted",
            )
        refused = "PermissionError" in fault and landlock.abi()
        writable = "it may write only in its copy of the project and in TMPDIR"
        return kind(fault, expected=expected, hint=hint or (writable if refused else ""))


def _array(reference: str, content: bytes) -> Any:
    """Return the predictions: float64, one or two dimensions.

    Raises:
        Refused: the file has another content.
    """
    import numpy as np

    try:
        values = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise Refused(f"{reference}: its predictions cannot be read: {error}") from None
    if not isinstance(values, np.ndarray) or values.dtype != np.float64 or values.ndim > 2:
        raise Refused(f"{reference}: its predictions are not float64 of one or two dimensions")
    return values


# --- in the process --------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Fit the requested estimator and write the model and predictions, or the error."""
    import numpy as np

    request = _Request(**json.loads(arguments[0]))
    move_search_path(request.original, request.root)
    out = Path(request.out)
    try:
        onnx, predictions = _fit(request, np.load(out / ARRAYS, allow_pickle=False))
    except PipelineError as error:
        parts = {"fault": error.fault, "expected": error.expected, "hint": error.hint}
        (out / ANSWER).write_text(json.dumps({"error": type(error).__name__, **parts}))
        return error.exit_code
    (out / ONNX).write_bytes(onnx)
    np.save(out / PREDICTIONS, predictions, allow_pickle=False)
    return 0


def _fit(request: _Request, arrays: Any) -> tuple[bytes, Any]:
    import numpy as np
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    objective = Objective(**request.objective)
    settings = FitSettings(**request.settings)
    estimator = _new_estimator(request, settings.seed)
    is_regression = objective.kind == "regression"
    labels = arrays["y"] if is_regression else arrays["y"].astype(np.int64)
    with threadpool_limits(settings.threads):
        try:
            estimator.fit(arrays["x"], labels)
        except Exception as error:
            raise UsageError(f"{request.reference} cannot be fitted: {_summary(error)}") from error
        method = "predict" if is_regression else "predict_proba"
        try:
            predicted = np.asarray(getattr(estimator, method)(arrays["tested"]), dtype=np.float64)
        except Exception as error:
            raise Refused(
                f"{request.reference}: {method} fails: {_summary(error)}",
                expected="predictions for every row, including rows with missing values (NaN)",
                hint="put sklearn.impute.SimpleImputer before an estimator that refuses NaN",
            ) from error
    if is_regression:
        predicted = predicted.reshape(len(arrays["tested"]), -1)[:, 0]
    elif objective.kind == "binary" and predicted.shape[1:] == (2,):
        predicted = predicted[:, 1]
    return _to_onnx(request.reference, estimator, objective, arrays["x"].shape[1]), predicted


def _new_estimator(request: _Request, seed: int) -> Any:
    """Return the unfitted estimator, with the seed in every ``random_state`` that is not set."""
    factory = load_object(Path(request.root), request.reference, key=KEY)
    if not callable(factory):
        raise UsageError(
            f"{KEY}: {request.reference} is a {type(factory).__name__}",
            expected="a class, or a function that returns an estimator",
        )
    try:
        estimator = factory(**request.params)
    except Exception as error:
        raise UsageError(
            f"{request.reference} refuses train.params: {_summary(error)}",
            expected="keyword arguments that it accepts",
        ) from error
    missing = [name for name in ("fit", "get_params", "set_params") if not hasattr(estimator, name)]
    if missing:
        raise UsageError(
            f"{KEY}: what {request.reference} returns has no {', '.join(missing)}",
            expected="an estimator or pipeline with the interface of scikit-learn",
        )
    unset = [
        name
        for name, value in estimator.get_params(deep=True).items()
        if name.rpartition("__")[2] == "random_state" and value is None
    ]
    return estimator.set_params(**dict.fromkeys(unset, seed))


def _to_onnx(reference: str, estimator: Any, objective: Objective, width: int) -> bytes:
    """Return the fitted estimator as ONNX.

    Raises:
        Refused: it cannot be converted.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    _register_boosting()
    try:
        model = to_onnx(
            estimator,
            name="model",
            initial_types=[(INPUT, FloatTensorType([None, width]))],
            options=None if objective.kind == "regression" else {"zipmap": False},
            target_opset=OPSETS,
        )
    except Exception as error:
        raise Refused(
            f"{reference} does not convert to ONNX: {_summary(error)}",
            expected="an estimator or pipeline that skl2onnx or onnxmltools converts",
            hint="see docs/how-to/own-estimator.md",
        ) from error
    outputs = [output.name for output in model.graph.output]
    expected = output_of(objective)
    if expected not in outputs:
        raise Refused(
            f"{reference}: its ONNX model has the outputs {', '.join(outputs)}",
            expected=f"'{expected}': a {'regressor' if expected == 'variable' else 'classifier'}",
        )
    return bytes(model.SerializeToString(deterministic=True))


def _register_boosting() -> None:
    """Register the converters of XGBoost and LightGBM, if the project imported these."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    shapes = calculate_linear_classifier_output_shapes, calculate_linear_regressor_output_shapes
    if "xgboost" in sys.modules:
        import xgboost
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

        for kind, shape in zip((xgboost.XGBClassifier, xgboost.XGBRegressor), shapes, strict=True):
            allowed = options if shape is shapes[0] else None
            update_registered_converter(
                kind, f"XGBoost{kind.__name__}", shape, convert_xgboost, options=allowed
            )
    if "lightgbm" in sys.modules:
        import lightgbm
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        kinds = (lightgbm.LGBMClassifier, lightgbm.LGBMRegressor)
        for kind, shape in zip(kinds, shapes, strict=True):
            allowed = options if shape is shapes[0] else {"split": None}
            update_registered_converter(
                kind, f"LightGbm{kind.__name__}", shape, convert_lightgbm, options=allowed
            )


def _summary(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
