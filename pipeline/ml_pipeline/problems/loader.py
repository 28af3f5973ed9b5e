"""Finds problem plug-ins by entry point and makes one from its section of ``ml.yaml``."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import FILE, ProblemSection
from ml_pipeline.core.errors import UsageError, nearest
from ml_pipeline.core.schema_errors import parse

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ml_pipeline.problem import Problem

GROUP = "ml_pipeline.problems"


def load_problem(config: ProblemSection, root: Path) -> Problem:
    """Make the problem that ``problem.kind`` names, with the section's other keys as its options.

    Raises:
        UsageError: there is no such plug-in, it cannot be imported, or an option is wrong.
    """
    known = _plugins()
    if config.kind not in known:
        raise UsageError(f"problem.kind is '{config.kind}'", hint=nearest(config.kind, known))
    plugin = _load(known[config.kind])
    values = {key: value for key, value in config.model_dump().items() if key != "kind"}
    options = parse(plugin.Options, values, f"{root / FILE}: problem ({config.kind})")
    problem: Problem = plugin(options)
    return problem


def option_schemas() -> dict[str, type[BaseModel]]:
    """Return the options model of every installed problem plug-in by its kind."""
    return {kind: _load(point).Options for kind, point in _plugins().items()}


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=GROUP))}


def _load(point: EntryPoint) -> type[Any]:
    try:
        plugin: type[Any] = point.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"problem plug-in '{point.name}' ({point.value}) cannot be loaded: {error}",
            hint="install or repair the package that provides it",
        ) from error
    return plugin
