"""A bundle as an MLflow model folder, which ``mlflow models serve`` and ``load_model`` read."""

from __future__ import annotations

import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline import __version__
from ml_pipeline.bundle.reader import Bundle

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "model"
"""Where the model folder lies among a run's artefacts."""
BUNDLE = "artifacts/bundle"
"""Where the bundle lies in the model folder."""

SCRIPT = Path(__file__).with_name("pyfunc_script.py")
NOT_LINTED = "# ruff: noqa\n# flake8: noqa\n# fmt: off\n"
"""Goes before the script: the home may lie in the project, whose linters are not about it."""
NEEDED = ("mlflow", "numpy", "onnxruntime", "pandas")


def _example(bundle: Bundle) -> pd.DataFrame:
    """Return the first golden row as a client sends it, in the types of the signature."""
    import pandas as pd

    row = bundle.golden.inputs[0]
    return pd.DataFrame(
        {
            feature.name: pd.Series(
                [value], dtype="float64" if feature.kind == "numeric" else "object"
            )
            for feature, value in zip(bundle.schema.features, row, strict=True)
        }
    )


def write(bundle: Bundle, folder: Path) -> None:
    """Write the model folder: ``MLmodel``, the loading script as text, and the bundle.

    The environment that serves it needs this package (``mlflow models serve --env-manager local``).
    """
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    types = {"numeric": DataType.double, "categorical": DataType.string}
    inputs = Schema(
        [
            ColSpec(types[feature.kind], feature.name, required=not feature.optional)
            for feature in bundle.schema.features
        ]
    )
    classes = bundle.task.metadata().get("classes", [None])
    outputs = [ColSpec(DataType.double, name) for name in classes]
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / Path(BUNDLE).name
        shutil.copytree(bundle.path, copy)
        script = Path(scratch) / SCRIPT.name
        script.write_text(NOT_LINTED + SCRIPT.read_text())
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(script),
            artifacts={"bundle": str(copy)},
            signature=ModelSignature(inputs=inputs, outputs=Schema(outputs)),
            input_example=_example(bundle),
            pip_requirements=[
                f"jenkins-ml-pipeline=={__version__}",
                *(f"{name}=={metadata.version(name)}" for name in NEEDED),
            ],
        )
