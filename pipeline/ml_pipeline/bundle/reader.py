"""Opens a bundle: verifies every file, then predicts. Imports neither pandas nor a framework.

A bundle comes from a registry or a disk that others may write to. Nothing in it is
used before it is checked: names are plain, files are regular, sizes and SHA-256 are those
of the manifest, and the folder contains no other file.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core import artefacts, documents
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.onnx_session import TOLERANCE, open_session
from ml_pipeline.features.schema import FeatureError, FeatureSchema
from ml_pipeline.tasks.base import difference as difference_of
from ml_pipeline.tasks.base import values_of
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.tasks.loader import read_task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.tasks.base import Task, Value

SCHEMA = "ml-pipeline/bundle/1"
MANIFEST = artefacts.MANIFEST_FILE
MODEL = artefacts.ONNX_FILE
GOLDEN = artefacts.GOLDEN_FILE
REQUIRED = frozenset(
    {
        MODEL,
        GOLDEN,
        artefacts.REFERENCE_FILE,
        artefacts.SOURCE_FILE,
        artefacts.SBOM_FILE,
        artefacts.MODEL_CARD_FILE,
    }
)
NATIVE = re.compile(r"model\.(?!pkl|pickle|joblib)[a-z0-9]{1,16}")
"""The estimator's native file, of which there may be one: a format that is safe to load."""

MAX_MANIFEST = 4 << 20
MAX_FILE = 1 << 30
SHA256 = re.compile(r"[0-9a-f]{64}")


class OnnxModel:
    """An ONNX model of a task: float32 ``[n, width]`` in, the task's columns a row out.

    One thread: a row takes microseconds, and one process serves one core.

    Raises:
        Refused: ONNX Runtime cannot load it, or its input or output is another one.
    """

    def __init__(self, model: Path | bytes, task: Task = BINARY) -> None:
        self.task = task
        self._columns = task.objective.outputs
        self._column = task.output_column
        content = model if isinstance(model, bytes) else _read(model, MAX_FILE)
        try:
            self._session = open_session(content)
        except Exception as error:  # noqa: BLE001  # ONNX Runtime raises classes of its own, one by one
            raise Refused(f"ONNX Runtime cannot load the model: {error}") from None
        inputs = self._session.get_inputs()
        outputs = [item for item in self._session.get_outputs() if item.type == "tensor(float)"]
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 2:
            raise Refused("the model's input is not one float32 matrix")
        if len(outputs) != 1:
            raise Refused("the model has no single float32 output with the predictions")
        self._input: str = inputs[0].name
        self._outputs = [outputs[0].name]
        width = inputs[0].shape[1]
        self.width: int | None = width if isinstance(width, int) else None

    def predict(self, encoded: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return predictions for encoded rows: float32 ``[n, width]`` to ``[n]`` or ``[n, k]``.

        Raises:
            Refused: the model does not answer with the task's columns.
        """
        found = self._run(encoded)
        if self._column is not None:
            found = found[:, self._column]
        return found.astype(float)  # type: ignore[no-any-return]

    def predict_list(self, encoded: NDArray[np.float32]) -> list[Value]:
        """Return what ``predict`` does as a list; for few rows that is faster."""
        column = self._column
        if column is None:
            return [tuple(row) for row in self._run(encoded).tolist()]
        return [row[column] for row in self._run(encoded).tolist()]

    def _run(self, encoded: NDArray[np.float32]) -> Any:
        found = self._session.run(self._outputs, {self._input: encoded})[0]
        if found.shape != (len(encoded), self._columns):
            raise Refused(
                f"the model answers {len(encoded)} rows with a {found.shape} array",
                expected="two probabilities a row"
                if self.task.objective.kind == "binary"
                else f"{self._columns} columns, for a {self.task.title}",
            )
        return found


@dataclass(frozen=True)
class Golden:
    """Rows as a client sends them, each with the prediction of the trained model."""

    inputs: list[list[Any]]
    predictions: list[Value]


class Bundle:
    """A model as a folder of plain files, opened and verified. See docs/reference/bundle.md."""

    def __init__(
        self,
        path: Path,
        manifest: dict[str, Any],
        digest: str,
        schema: FeatureSchema,
        model: OnnxModel,
        golden: Golden,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.digest = digest
        """SHA-256 of manifest.json, and by it of everything in the bundle."""
        self.schema = schema
        self.model = model
        self.golden = golden
        self.task = model.task
        """The task, with what training learned of it."""

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Open the bundle in the folder ``path``; every file is compared with the manifest.

        Raises:
            Refused: a file is missing, extra, changed, oversized or not a regular file, the
                manifest is not of this format, or the model does not fit its schema.
        """
        content = _read(path / MANIFEST, MAX_MANIFEST)
        manifest = parse_manifest(content, path / MANIFEST)
        files = manifest["files"]
        _check_names(path, set(files))
        for name in sorted(set(files) - {MODEL, GOLDEN}):
            _check_file(path / name, files[name])
        model = _verified(path / MODEL, files[MODEL])
        golden = _verified(path / GOLDEN, files[GOLDEN])
        try:
            schema = FeatureSchema.from_json(manifest["features"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refused(f"{path / MANIFEST}: features: {error}") from None
        try:
            task = read_task(manifest["training"].get("task"))
        except Refused as error:
            raise Refused(f"{path / MANIFEST}: {error.fault}", hint=error.hint) from None
        loaded = OnnxModel(model, task)
        if loaded.width not in (None, schema.width):
            raise Refused(
                f"{path / MODEL} takes {loaded.width} columns",
                expected=f"{schema.width}, as in its schema",
            )
        return cls(
            path,
            manifest,
            hashlib.sha256(content).hexdigest(),
            schema,
            loaded,
            _golden(golden, path / GOLDEN, len(schema.features), task),
        )

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files, the manifest first."""
        return (MANIFEST, *self.manifest["files"])

    @property
    def project(self) -> str:
        return str(self.manifest["project"])

    @property
    def identity(self) -> str:
        return str(self.manifest["identity"])

    @property
    def profile(self) -> str:
        return str(self.manifest["profile"])

    @property
    def cutoffs(self) -> dict[str, str | None]:
        return dict(self.manifest["cutoffs"])

    def predict(self, encoded: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return predictions, [n] or [n, k], for rows that are encoded already."""
        return self.model.predict(encoded)

    def predict_list(self, encoded: NDArray[np.float32]) -> list[Value]:
        """Return what ``predict`` does as a list; for few rows that is faster."""
        return self.model.predict_list(encoded)

    def predict_rows(self, rows: Sequence[Sequence[object]]) -> NDArray[np.float64]:
        """Return predictions for raw rows in the order of the schema's features.

        Raises:
            FeatureError: a row does not fit the schema; names the feature.
        """
        return self.model.predict(self.schema.encode_rows(rows))

    def check_golden(self) -> float:
        """Return the largest difference from the golden predictions.

        Raises:
            Refused: it is above the tolerance or not a number, or a row does not fit the schema.
        """
        try:
            found = self.predict_rows(self.golden.inputs)
        except FeatureError as error:
            raise Refused(f"{self.path / GOLDEN}: {error}") from None
        return check_golden(values_of(found), self.golden.predictions, self.task.tolerance)


def check_golden(
    found: Sequence[Value], expected: Sequence[Value], tolerance: float = TOLERANCE
) -> float:
    """Return the largest difference between two lists of predictions.

    Raises:
        Refused: there are none, their number differs, or the difference is above ``tolerance`` or
            not a number.
    """
    if not expected or len(found) != len(expected):
        raise Refused(
            f"{len(found)} golden predictions", expected=f"{len(expected) or 'at least one'}"
        )
    difference = 0.0
    for one, other in zip(found, expected, strict=True):
        here = difference_of(one, other)
        if not here <= tolerance:
            raise Refused(
                f"a golden prediction is {_shown(one)}",
                expected=f"{_shown(other)} within {tolerance:g}",
            )
        difference = max(difference, here)
    return difference


def _shown(value: Value) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    return f"{value:.8g}"


def read_json(content: bytes, where: Path) -> Any:
    """Parse JSON; raises Refused for what :mod:`ml_pipeline.core.documents` does not read."""
    try:
        return documents.parse_json(content, str(where))
    except DocumentError as error:
        raise Refused(error.fault, expected=error.expected) from None


def parse_manifest(content: bytes, where: Path) -> dict[str, Any]:
    """Return a manifest; raises Refused if it does not have this format."""
    manifest = read_json(content, where)
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise Refused(f"{where}: schema {found!r}", expected=repr(SCHEMA))
    shapes = {
        "project": str,
        "profile": str,
        "problem": str,
        "identity": str,
        "identity_parts": dict,
        "features": dict,
        "training": dict,
        "cutoffs": dict,
        "files": dict,
    }
    for key, kind in shapes.items():
        if not isinstance(manifest.get(key), kind):
            raise Refused(f"{where}: '{key}' is missing or not of its type", expected=kind.__name__)
    if not SHA256.fullmatch(manifest["identity"]):
        raise Refused(f"{where}: 'identity' is no SHA-256")
    files = manifest["files"]
    natives = [name for name in sorted(files) if name not in REQUIRED and NATIVE.fullmatch(name)]
    if unknown := sorted(set(files) - REQUIRED - set(natives[:1])):
        raise Refused(f"{where} names {unknown[0]!r}", expected="the plain file names of a bundle")
    if lacking := sorted(REQUIRED - set(files)):
        raise Refused(f"{where} does not name {lacking[0]}")
    for name, entry in files.items():
        if (
            not isinstance(entry, dict)
            or not SHA256.fullmatch(str(entry.get("sha256")))
            or type(entry.get("bytes")) is not int
        ):
            raise Refused(f"{where}: '{name}'", expected="its 'sha256' and its number of 'bytes'")
        if entry["bytes"] > MAX_FILE:
            raise Refused(
                f"{where}: {name} has {entry['bytes']} bytes", expected=f"at most {MAX_FILE}"
            )
    return manifest


def _check_names(path: Path, named: set[str]) -> None:
    present = {item.name for item in path.iterdir()} - {MANIFEST}
    if extra := sorted(present - named):
        raise Refused(f"{path / extra[0]} is not in the manifest", expected="no other file")


def _check_file(path: Path, entry: dict[str, Any]) -> None:
    size = _size(path)
    if size != entry["bytes"]:
        raise Refused(f"{path} has {size} bytes", expected=f"{entry['bytes']}, as in the manifest")
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    _compare(path, total.hexdigest(), entry)


def _verified(path: Path, entry: dict[str, Any]) -> bytes:
    content = _read(path, entry["bytes"])
    _compare(path, hashlib.sha256(content).hexdigest(), entry)
    return content


def _compare(path: Path, found: str, entry: dict[str, Any]) -> None:
    if found != entry["sha256"]:
        raise Refused(
            f"{path} has changed: its SHA-256 is {found}",
            expected=f"{entry['sha256']}, as in the manifest",
        )


def _read(path: Path, limit: int) -> bytes:
    size = _size(path)
    if size > limit:
        raise Refused(f"{path} has {size} bytes", expected=f"at most {limit}")
    return path.read_bytes()


def _size(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError as error:
        raise Refused(
            f"{path} cannot be read: {error.strerror}", expected="a bundle's file"
        ) from None
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{path} is not a regular file")
    return found.st_size


def _golden(content: bytes, where: Path, width: int, task: Task) -> Golden:
    golden = read_json(content, where)
    inputs = golden.get("inputs") if isinstance(golden, dict) else None
    expected = golden.get(task.golden_key) if isinstance(golden, dict) else None
    if (
        not isinstance(inputs, list)
        or not isinstance(expected, list)
        or not inputs
        or len(inputs) != len(expected)
        or any(not isinstance(row, list) or len(row) != width for row in inputs)
        or not all(_is_value(value, task) for value in expected)
    ):
        raise Refused(
            f"{where} is broken", expected=f"as many rows as {task.golden_key}, at least one"
        )
    import numpy as np

    wrong = task.invalid(np.array(expected, dtype=np.float64))
    if wrong.any():
        value = expected[int(wrong.argmax())]
        raise Refused(
            f"{where}: a {'probability' if task.name == BINARY.name else 'prediction'} is {value}",
            expected="0 to 1" if task.name == BINARY.name else f"a {task.prediction_noun}",
        )
    if all(value is None for row in inputs for value in row):
        raise Refused(f"{where}: no row has a value", expected="rows that distinguish models")
    return Golden(inputs, [tuple(each) if isinstance(each, list) else each for each in expected])


def _is_value(value: object, task: Task) -> bool:
    """Return whether a value of JSON has the form of the task's predictions."""
    if task.output_column is not None:
        return type(value) is float
    return (
        isinstance(value, list)
        and len(value) == task.objective.outputs
        and all(type(each) is float for each in value)
    )
