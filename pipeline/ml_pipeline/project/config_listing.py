"""The output of ``ml-pipeline config``: each value with its origin, and the JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ml_pipeline.config import Config, Project
from ml_pipeline.core.errors import masked
from ml_pipeline.problems.loader import option_schemas, problem_tasks
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.training.estimators.loader import OWN_ESTIMATOR, installed_estimators


def values(project: Project) -> list[tuple[str, Any, str]]:
    """Return (dotted key, value, origin), in the order of the configuration's sections."""
    rows = []
    for key, value in _flat(project.config.model_dump(mode="json")):
        shown = masked(value) if isinstance(value, str) else value
        rows.append((key, shown, _origin(project.origins, key)))
    return rows


def schema() -> dict[str, Any]:
    """Return the JSON Schema of ``ml.yaml``, with the options of the installed plug-ins."""
    whole = Config.model_json_schema()
    variants, tasks = [], problem_tasks()
    for kind, options in sorted(option_schemas().items()):
        own = options.model_json_schema()
        whole["$defs"] |= own.pop("$defs", {})
        task = {"enum": [*tasks[kind]], "default": BINARY.name}
        own["properties"] = {"kind": {"const": kind}, "task": task} | own.get("properties", {})
        variants.append(own | {"title": kind})
    whole["$defs"]["ProblemSection"] = {
        "description": "What a row, a label and a group are.",
        "oneOf": variants,
    }
    whole["$defs"]["TrainSection"]["properties"]["estimator"] |= {
        "anyOf": [{"enum": [*installed_estimators()]}, {"pattern": OWN_ESTIMATOR}]
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | whole


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _origin(origins: Mapping[str, str], key: str) -> str:
    if key in origins:
        return origins[key]
    parents = key.split(".")
    for length in range(len(parents) - 1, 0, -1):
        if ".".join(parents[:length]) in origins:
            return origins[".".join(parents[:length])]
    return "default"
