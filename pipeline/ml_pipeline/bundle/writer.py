"""Writes a bundle from the files of ``train`` in ``model/``: same inputs, same bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from ml_pipeline.bundle import identity
from ml_pipeline.bundle.model_card import card
from ml_pipeline.bundle.reader import GOLDEN, MANIFEST, MODEL, SCHEMA, Bundle, read_json
from ml_pipeline.bundle.request_rows import json_rows
from ml_pipeline.bundle.sbom import sbom
from ml_pipeline.bundle.source import archive
from ml_pipeline.config import Project
from ml_pipeline.core import artefacts, workdir
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.data import parquet
from ml_pipeline.features.schema import FeatureSchema
from ml_pipeline.tasks.base import Task, from_column
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.tasks.loader import read_task
from ml_pipeline.training.estimators.loader import load_estimator
from ml_pipeline.training.training_record import TrainingRecord

REPEATED = ("project", "problem", "profile", "identity", "identity_parts", "cutoffs")
"""Keys of the training record that the manifest gives at its top."""


def write(destination: Path, *, model: Path, project: Project) -> Bundle:
    """Write the bundle of the trained model in the folder ``model`` and open it, verified.

    The folder ``destination`` appears, or is replaced, whole; on any error it stays as it was.

    Raises:
        UsageError: code or configuration of the project is no longer what the model was trained by.
        Refused: the model's files do not fit together.
    """
    training = read_training(model)
    schema = read_schema(model)
    check_unchanged(project, training)
    if training.identity_parts.get("contract") != schema.contract:
        raise Refused(
            f"{model / artefacts.SCHEMA_FILE} is not the contract that the model's identity names",
            hint="run 'ml-pipeline train' again",
        )
    with workdir.atomic_folder(destination) as folder:
        for name in (MODEL, native_file(training), artefacts.REFERENCE_FILE):
            if name is not None and (model / name).is_file():
                shutil.copyfile(model / name, folder / name)
        _write_json(
            folder / GOLDEN, golden(model / artefacts.PARITY_FILE, schema, read_task(training.task))
        )
        (folder / artefacts.SOURCE_FILE).write_bytes(archive(project))
        (folder / artefacts.MODEL_CARD_FILE).write_text(card(training, schema), encoding="utf-8")
        model_sha256 = workdir.digest(folder / MODEL)
        versions = identity.locked(project)
        materials = sbom(training.project, training.identity, versions, model_sha256)
        (folder / artefacts.SBOM_FILE).write_text(materials, encoding="utf-8")
        _write_json(folder / MANIFEST, _manifest(folder, training, schema))
        Bundle.open(folder)
    return Bundle.open(destination)


def read_training(model: Path) -> TrainingRecord:
    """Return the record that train wrote; raises Refused where it is broken."""
    path = model / artefacts.TRAINING_FILE
    return TrainingRecord.from_json(read_json(path.read_bytes(), path))


def native_file(training: TrainingRecord) -> str | None:
    """Return the name of the estimator's native file; None where it has none."""
    return load_estimator(training.estimator).native_file


def read_schema(model: Path) -> FeatureSchema:
    """Return the feature schema that train wrote; raises Refused where it is broken."""
    path = model / artefacts.SCHEMA_FILE
    try:
        return FeatureSchema.from_json(read_json(path.read_bytes(), path))
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(f"{path}: {error}") from None


def check_unchanged(project: Project, training: TrainingRecord) -> None:
    """Compare the project with the identity that the model was trained under.

    Raises:
        UsageError: a part differs; names it.
    """
    trained = training.identity_parts
    now = identity.identity(project, training.fingerprint).parts
    for part, value in now.items():
        if trained.get(part) != value:
            raise UsageError(
                f"the project's {part} is no longer what the model was trained by",
                hint="run 'ml-pipeline train' again, with the same --set values as this command",
            )


def golden(parity: Path, schema: FeatureSchema, task: Task = BINARY) -> dict[str, Any]:
    """Return the golden rows, as a client would send them, with the trained model's answers.

    Args:
        parity: Parquet with the raw features, the task's column of predictions and ``__golden``.
        schema: gives the order of the features.
        task: what is predicted.
    """
    frame = parquet.read(parity)
    frame = frame[frame[artefacts.GOLDEN_COLUMN]]
    return {
        "features": list(schema.names),
        "inputs": json_rows(frame, schema.names),
        task.golden_key: from_column(frame[task.column]).tolist(),
    }


def _manifest(folder: Path, training: TrainingRecord, schema: FeatureSchema) -> dict[str, Any]:
    files = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        files[path.name] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        }
    record = training.to_json()
    return {
        "schema": SCHEMA,
        **{name: record[name] for name in REPEATED},
        "features": schema.to_json(),
        "training": record,
        "files": files,
    }


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
