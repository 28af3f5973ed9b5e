"""YAML for the engine, which has no reader of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml


def answer(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read ``read`` into its documents, or write the documents of ``write``."""
    if "write" in request:
        return {"text": yaml.safe_dump_all(request["write"], sort_keys=False)}
    try:
        read = list(yaml.safe_load_all(request["read"]))
    except yaml.YAMLError as error:
        return {"error": " ".join(str(error).split())}
    return {"documents": json.loads(json.dumps(read, default=str))}
