"""Finds a task by the name in ``problem.task`` or by the record in a bundle's manifest."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_args

from ml_pipeline.core.errors import Refused, UsageError, nearest
from ml_pipeline.tasks.base import PlotKind
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    from ml_pipeline.tasks.base import Task

TASK_PLUGINS = "ml_pipeline.tasks"
"""The group of entry points of further tasks."""
BUILT_IN = {
    "binary_classification": "ml_pipeline.tasks.binary_classification:BinaryClassification",
    "multiclass_classification": (
        "ml_pipeline.tasks.multiclass_classification:MulticlassClassification"
    ),
    "regression": "ml_pipeline.tasks.regression:Regression",
}
"""The tasks of this package, which need no installed metadata: the server's image has none."""


def load_task(name: str) -> Task:
    """Return the task that ``problem.task`` names, as it is before training.

    Raises:
        UsageError: no such task is installed, or its plug-in cannot be imported.
    """
    task: Task = _class_of(name)()
    return task


def read_task(record: Mapping[str, Any] | None) -> Task:
    """Return the task that a training record holds; None stands for binary classification.

    Raises:
        Refused: the record is not of an installed task.
    """
    if record is None:
        return BINARY
    try:
        task: Task = _class_of(str(record["name"])).from_json(record)
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"the record of the model's task is wrong: {error}") from None
    except UsageError as error:
        raise Refused(error.fault, expected=error.expected, hint=error.hint) from None
    return task


def _class_of(name: str) -> Any:
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return getattr(import_module(module), attribute)
    from ml_pipeline.core.plugins import installed_plugins

    plugins = installed_plugins(TASK_PLUGINS)
    if name not in plugins:
        known = sorted({*BUILT_IN, *plugins})
        raise UsageError(f"problem.task is '{name}'", hint=nearest(name, known))
    loaded = plugins[name].load(attributes=("from_json", "metrics", "objective", "plots"))
    kinds = get_args(PlotKind)
    unknown = [kind for kind in loaded.plots if kind not in kinds]
    if unknown or not loaded.plots:
        raise UsageError(
            f"plug-in {plugins[name]} declares "
            + (f"the plot {unknown[0]!r}" if unknown else "no plot"),
            expected=f"plots of {', '.join(kinds)}",
        )
    return loaded
