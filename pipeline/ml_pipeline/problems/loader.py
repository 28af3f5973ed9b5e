"""Loads the problem plug-in that ``problem.kind`` names, with its options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.config import FILE, ProblemSection
from ml_pipeline.core.plugins import installed_plugins, load_plugin
from ml_pipeline.core.schema_errors import parse

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ml_pipeline.problem import Problem

PROBLEM_PLUGINS = "ml_pipeline.problems"
"""The group of their entry points."""

METHODS = ("Options", "columns", "feature_columns", "expectations", "matrix", "heuristic")


def load_problem(config: ProblemSection, root: Path) -> Problem:
    """Make the problem that ``problem.kind`` names, with the section's other keys as its options.

    Raises:
        UsageError: there is no such plug-in, it cannot be imported, or an option is wrong.
    """
    plugin = load_plugin(PROBLEM_PLUGINS, config.kind, what="problem.kind", attributes=METHODS)
    values = {key: value for key, value in config.model_dump().items() if key != "kind"}
    options = parse(plugin.Options, values, f"{root / FILE}: problem ({config.kind})")
    problem: Problem = plugin(options)
    return problem


def option_schemas() -> dict[str, type[BaseModel]]:
    """Return the options model of every installed problem plug-in by its kind."""
    plugins = installed_plugins(PROBLEM_PLUGINS)
    return {kind: plugin.load(attributes=METHODS).Options for kind, plugin in plugins.items()}
