"""Loads the deployment target of an environment."""

from __future__ import annotations

from typing import cast

from ml_pipeline.core.plugins import load_plugin
from ml_pipeline.targets.base import Target

TARGET_PLUGINS = "ml_pipeline.targets"
"""Group of the entry points."""


def load_target(name: str) -> Target:
    """Return a new instance of the target of this name.

    Raises:
        UsageError: no installed package provides it, or it cannot be imported.
    """
    target = load_plugin(
        TARGET_PLUGINS, name, what="deployment target", attributes=("handover", "status", "stop")
    )
    return cast("Target", target())
