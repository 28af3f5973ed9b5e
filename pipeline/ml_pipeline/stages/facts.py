"""A stage's record as JSON, for the Jenkins library and other programs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ml_pipeline.stages.record import Stage, changed, flags_of


def facts_of(stage: Stage) -> dict[str, Any]:
    """Return a stage's entry in ``resources/steps.json`` and ``ml-pipeline stages --json``."""
    shown = [flag for flag in flags_of(stage.flags) if flag.in_step]
    return {
        "summary": stage.summary,
        "about": f"Fails when {stage.fails_when}.",
        "stage": stage.name,
        "phase": stage.phase,
        "after": stage.after or None,
        "ci": None if stage.ci is None else as_arguments(changed(stage.ci)),
        "environment": stage.environment,
        "home": stage.home,
        "engine": stage.engine,
        "engineWith": list(stage.engine_with),
        "keys": {camel(flag.name): flag.key for flag in shown},
        "parts": list(stage.stashes),
        "reads": None if stage.reads is None else list(stage.reads),
        "needs": list(stage.needs),
        "credentials": list(stage.credentials),
        "arguments": {camel(flag.name): {"kind": flag.kind, "help": flag.help} for flag in shown},
    }


def as_arguments(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return flags, by key, as the arguments of a Jenkins step."""
    return {camel(key.replace("_", "-")): value for key, value in flags.items()}


def camel(name: str) -> str:
    """Return the name of a flag as a step has it: ``ciData`` for ``ci-data``."""
    return re.sub("-(.)", lambda found: found[1].upper(), name)
