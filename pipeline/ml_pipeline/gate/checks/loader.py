"""Loads gate checks that installed packages offer by entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.plugins import load_plugin
from ml_pipeline.core.schema_errors import parse
from ml_pipeline.gate.checks.base import GateCheck, PolicyBound

GATE_CHECK_PLUGINS = "ml_pipeline.gate_checks"


def load_check(name: str) -> type[GateCheck]:
    """Return the class of an installed gate check.

    Raises:
        UsageError: no installed package offers it, it cannot be imported, or it is no
            :class:`GateCheck`.
    """
    loaded = load_plugin(GATE_CHECK_PLUGINS, name, what="gate check", attributes=("judge",))
    if not (isinstance(loaded, type) and issubclass(loaded, GateCheck)):
        raise UsageError(
            f"gate check '{name}' is {loaded!r}", expected="a subclass of ml_pipeline.GateCheck"
        )
    return loaded


def make_check(name: str, settings: Mapping[str, Any]) -> GateCheck:
    """Return an installed gate check with validated settings, under the name of its entry point.

    Raises:
        UsageError: it cannot be loaded, or a setting is unknown or wrong.
    """
    plugin = load_check(name)
    check = plugin(parse(plugin.Settings, settings, f"gate.checks: {name}"))
    check.name = name
    return check


def policy_bound(plugin: type[GateCheck], key: str) -> PolicyBound | None:
    """Return how the policy bounds a setting; None for one that has to be equal."""
    field = plugin.Settings.model_fields.get(key)
    metadata = [] if field is None else field.metadata
    return next((each for each in metadata if isinstance(each, PolicyBound)), None)
