"""Loads the problem plug-in that ``problem.kind`` names, with its options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import FILE, ProblemSection
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.plugins import installed_plugins, load_plugin
from ml_pipeline.core.schema_errors import parse
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.tasks.loader import BUILT_IN, TASK_PLUGINS, load_task

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ml_pipeline.problem import Problem
    from ml_pipeline.tasks.base import Task

PROBLEM_PLUGINS = "ml_pipeline.problems"
"""The group of their entry points."""

METHODS = ("Options", "columns", "feature_columns", "expectations", "matrix", "heuristic")


def load_problem(config: ProblemSection, root: Path) -> Problem:
    """Make the problem that ``problem.kind`` names, with the section's other keys as its options.

    Raises:
        UsageError: there is no such plug-in or task, it cannot be imported, the problem does not
            have the task, or an option is wrong.
    """
    plugin = load_plugin(PROBLEM_PLUGINS, config.kind, what="problem.kind", attributes=METHODS)
    task = load_task(config.task)
    tasks = _tasks(plugin)
    if not _takes(tasks, task):
        raise UsageError(
            f"problem.task is '{task.name}', which the problem '{config.kind}' does not have",
            expected=f"one of: {', '.join(tasks)}",
        )
    values = {k: value for k, value in config.model_dump().items() if k not in ("kind", "task")}
    options = parse(plugin.Options, values, f"{root / FILE}: problem ({config.kind})")
    problem: Problem = plugin(options, task) if hasattr(plugin, "tasks") else plugin(options)
    return problem


def option_schemas() -> dict[str, type[BaseModel]]:
    """Return the options model of every installed problem plug-in by its kind."""
    plugins = installed_plugins(PROBLEM_PLUGINS)
    return {kind: plugin.load(attributes=METHODS).Options for kind, plugin in plugins.items()}


def problem_tasks() -> dict[str, tuple[str, ...]]:
    """Return the tasks of every installed problem plug-in by its kind, installed ones included."""
    plugins = installed_plugins(PROBLEM_PLUGINS)
    further = [load_task(name) for name in installed_plugins(TASK_PLUGINS)]
    found = {}
    for kind, plugin in plugins.items():
        tasks = _tasks(plugin.load(attributes=METHODS))
        others = [task.name for task in further if task.name not in tasks and _takes(tasks, task)]
        found[kind] = (*tasks, *others)
    return found


def _tasks(plugin: Any) -> tuple[str, ...]:
    return tuple(getattr(plugin, "tasks", (BINARY.name,)))


def _takes(tasks: tuple[str, ...], task: Task) -> bool:
    """Return whether a problem has the task, or a built-in one that learns the same objective."""
    kinds = {load_task(name).objective.kind for name in tasks if name in BUILT_IN}
    return task.name in tasks or (task.name not in BUILT_IN and task.objective.kind in kinds)
