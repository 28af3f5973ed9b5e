"""The files of a training run: all of them or none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core import artefacts, workdir
from ml_pipeline.core.artefacts import LABEL_COLUMN, PART_COLUMN

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.core.workdir import Workdir
    from ml_pipeline.problem import Matrix
    from ml_pipeline.training.estimators.base import Estimator
    from ml_pipeline.training.split import Split
    from ml_pipeline.training.trained_model import TrainedModel
    from ml_pipeline.training.training_record import TrainingRecord


@contextmanager
def all_or_nothing(folder: Workdir) -> Iterator[None]:
    """Remove what an earlier run left, and what this one leaves if it does not reach its end."""
    _remove(folder)
    try:
        yield
    except BaseException:
        _remove(folder)
        raise


def write(folder: Workdir, trained: TrainedModel, record: TrainingRecord) -> list[Path]:
    """Write every file of the stage; return their paths.

    The same model gives the same bytes: nothing in them tells time or place.
    """
    table = matrix_table(trained.matrix, trained.split)
    written = []
    for name, rows in (
        (artefacts.MATRIX, table),
        (artefacts.HOLDOUT, table[table[PART_COLUMN] == "holdout"]),
    ):
        _write_table(folder / name, rows.reset_index(drop=True))
        written.append(folder / name)
    with workdir.atomic_folder(folder / artefacts.MODEL) as model:
        _write_json(model / artefacts.SCHEMA_FILE, trained.schema.to_json())
        _write_json(model / artefacts.TRAINING_FILE, record.to_json())
        (model / artefacts.ONNX_FILE).write_bytes(trained.onnx)
        native = trained.model.fitted.native()
        if native is not None:
            (model / _native_file(trained.recipe.estimator)).write_bytes(native)
        trained.parity.to_parquet(model / artefacts.PARITY_FILE, index=False)
        trained.reference.to_parquet(model / artefacts.REFERENCE_FILE, index=False)
        names = sorted(path.name for path in model.iterdir())
    return written + [folder / artefacts.MODEL / name for name in names]


def _native_file(estimator: Estimator) -> str:
    if estimator.native_file is None:
        raise ValueError(f"estimator {estimator.name} gives a native model without a file name")
    return estimator.native_file


def matrix_table(matrix: Matrix, split: Split) -> pd.DataFrame:
    """Return keys, label and part, each name with ``__`` before it, then the raw features."""
    import pandas as pd

    keys = matrix.keys.add_prefix("__")
    keys[LABEL_COLUMN] = matrix.label
    keys[PART_COLUMN] = split.part.astype(object)
    return pd.concat([keys, matrix.features], axis=1)


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with workdir.atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n")


def _remove(folder: Workdir) -> None:
    for name in (artefacts.MATRIX, artefacts.HOLDOUT):
        (folder / name).unlink(missing_ok=True)
    if (folder / artefacts.MODEL).exists():
        shutil.rmtree(folder / artefacts.MODEL)
