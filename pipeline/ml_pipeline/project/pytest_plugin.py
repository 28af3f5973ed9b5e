"""pytest plug-in: the fixtures that a project's tests get.

The verbs load it by name and pass the inputs of the fixtures. In a plain ``pytest`` the module
``pytest_entry_point`` loads it, and the inputs are the files of the last run in the working folder.
It imports nothing heavy. See docs/reference/fixtures.md.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from ml_pipeline.core import artefacts
from ml_pipeline.project.test_context import TEST_CONTEXT, move_search_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from ml_pipeline.project.model_fixtures import BaselineModel, TrainedModel
    from ml_pipeline.tasks.base import Task

VERBS = {
    "df": "validate-data",
    "new_model": "evaluate",
    "baseline_model": "evaluate",
    "X_test": "evaluate",
    "y_test": "evaluate",
    "endpoint": "verify staging",
}


def _read_test_context() -> dict[str, Any] | None:
    path = os.environ.get(TEST_CONTEXT)
    if not path:
        return None
    context: dict[str, Any] = json.loads(Path(path).read_text())
    return context


INPUTS = {
    "df": "data/df.parquet",
    "model": artefacts.ONNX,
    "schema": artefacts.SCHEMA,
    "holdout": artefacts.HOLDOUT,
    "predictions": artefacts.PREDICTIONS,
    "training": artefacts.TRAINING,
}
"""Paths of the fixtures' inputs in the working folder."""


def _fail_outside_a_stage(fixture: str) -> NoReturn:
    verb = VERBS[fixture]
    pytest.fail(
        f"fixture '{fixture}' is available in tests that 'ml-pipeline {verb}' runs, and after "
        f"a run of it: run 'ml-pipeline {verb}'",
        pytrace=False,
    )


def _inputs(config: pytest.Config, fixture: str, *keys: str) -> list[str]:
    context = _read_test_context()
    inputs = _inputs_of_last_run(config) if context is None else context.get("inputs", {})
    if any(key not in inputs for key in keys):
        _fail_outside_a_stage(fixture)
    return [inputs[key] for key in keys]


def _task(config: pytest.Config) -> Task:
    """Return the task of the trained model."""
    from ml_pipeline.tasks.loader import read_task

    context = _read_test_context()
    inputs = _inputs_of_last_run(config) if context is None else context.get("inputs", {})
    if "training" not in inputs:
        return read_task(None)
    return read_task(json.loads(Path(inputs["training"]).read_text()).get("task"))


def _inputs_of_last_run(config: pytest.Config) -> dict[str, str]:
    """Return the existing files of the last run in the working folder."""
    here = config.rootpath
    root = next((each for each in (here, *here.parents) if (each / "ml.yaml").is_file()), here)
    folder = root / "build/ml"
    found = {key: str(folder / path) for key, path in INPUTS.items() if (folder / path).is_file()}
    for key, report, metric in (
        ("baseline", "evaluate", "best_heuristic"),
        ("endpoint", "deploy-staging", "url"),
    ):
        path = folder / f"reports/{report}.json"
        if path.is_file():
            value = json.loads(path.read_text()).get("metrics", {}).get(metric)
            found |= {key: value} if isinstance(value, str) else {}
    return found


def pytest_addoption() -> None:
    """Import from the copy that the tests run in, before coverage resolves its sources."""
    context = _read_test_context() or {}
    if "copy" in context:
        move_search_path(context["original"], context["copy"])


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Append the project root to ``sys.path``, before its conftest files are imported.

    At exit, garbage collection of the imported objects is skipped, which saves part of a second.
    """
    root = (_read_test_context() or {}).get("root")
    if root is not None and root not in sys.path:
        sys.path.append(root)
    if TEST_CONTEXT in os.environ:
        atexit.register(gc.freeze)


def pytest_collection_finish(session: pytest.Session) -> None:
    context = _read_test_context()
    if context is None:
        return
    for item in session.items:
        item.user_properties.append(("ml_pipeline_node", item.nodeid))
        if "baseline_model" in getattr(item, "fixturenames", ()):
            item.user_properties.append(("ml_pipeline_compares", "yes"))
    Path(context["collected"]).write_text(str(len(session.items)))


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    if call.excinfo is not None and TEST_CONTEXT in os.environ:
        item.user_properties.append(("ml_pipeline_exception", call.excinfo.typename))


@pytest.fixture(scope="session")
def df(pytestconfig: pytest.Config) -> pd.DataFrame:
    """The clean rows, in the source's own column names (stage validate-data)."""
    import pandas as pd

    return pd.read_parquet(_inputs(pytestconfig, "df", "df")[0])


@pytest.fixture(scope="session")
def new_model(pytestconfig: pytest.Config) -> TrainedModel:
    """The model that was just trained; ``predict_proba`` where it classifies (stage evaluate)."""
    from ml_pipeline.project.model_fixtures import TrainedModel

    model, schema = _inputs(pytestconfig, "new_model", "model", "schema")
    return TrainedModel.open(Path(model), Path(schema), _task(pytestconfig))


@pytest.fixture(scope="session")
def baseline_model(pytestconfig: pytest.Config) -> BaselineModel:
    """The baseline of the new model: the champion, else the best heuristic (stage evaluate)."""
    from ml_pipeline.project.model_fixtures import BaselineModel

    predictions, column = _inputs(pytestconfig, "baseline_model", "predictions", "baseline")
    return BaselineModel.open(Path(predictions), column, _task(pytestconfig))


@pytest.fixture(scope="session")
def X_test(pytestconfig: pytest.Config) -> pd.DataFrame:  # noqa: N802  the name that scikit-learn's users write
    """The raw features of the holdout's rows (stage evaluate)."""
    from ml_pipeline.project.model_fixtures import read_holdout

    holdout = Path(_inputs(pytestconfig, "X_test", "holdout")[0])
    return read_holdout(holdout, _task(pytestconfig))[0]


@pytest.fixture(scope="session")
def y_test(pytestconfig: pytest.Config) -> pd.Series[Any]:
    """The labels of the holdout's rows: 0 or 1, names of classes, or numbers (stage evaluate)."""
    from ml_pipeline.project.model_fixtures import read_holdout

    holdout = Path(_inputs(pytestconfig, "y_test", "holdout")[0])
    return read_holdout(holdout, _task(pytestconfig))[1]


@pytest.fixture(scope="session")
def endpoint(pytestconfig: pytest.Config) -> Iterator[str]:
    """The address of the deployed API, without a slash at its end (stage verify).

    Requests to it count as probes, not as requests of clients.
    """
    from ml_pipeline.project.probe_marking import mark_requests

    url = _inputs(pytestconfig, "endpoint", "endpoint")[0].rstrip("/")
    with mark_requests(url):
        yield url
