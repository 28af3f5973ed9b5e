"""Finds the deployment target that an environment names, by entry point."""

from __future__ import annotations

from importlib import metadata
from typing import cast

from ml_pipeline.core.errors import EnvironmentFault, UsageError, nearest
from ml_pipeline.targets.base import Target

GROUP = "ml_pipeline.targets"


def load_target(name: str) -> Target:
    """Return the target of this name.

    Raises:
        UsageError: no installed package offers it.
        EnvironmentFault: the package that offers it cannot be imported.
    """
    entries = metadata.entry_points(group=GROUP)
    if name not in entries.names:
        raise UsageError(f"unknown deployment target '{name}'", hint=nearest(name, entries.names))
    try:
        return cast("Target", entries[name].load()())
    except ImportError as error:
        raise EnvironmentFault(f"deployment target '{name}' cannot be loaded: {error}") from error
