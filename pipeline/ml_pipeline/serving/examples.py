"""An example request for each path, as a command, shown when a request has the wrong method."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_pipeline.features.schema import FeatureSchema

HOST = "http://HOST:PORT"
SHOWN = 20
"""Number of features above which the example does not list them."""


class Examples:
    """Example commands for the paths of a model's server."""

    def __init__(self, schema: FeatureSchema) -> None:
        row = json.dumps(_row(schema), ensure_ascii=False)
        self._bodies = {
            "/predict": f'{{"features": {row}}}',
            "/predict/raw": '{"rows": [{"COLUMN": VALUE}]}',
            "/invocations": f'{{"dataframe_records": [{row}]}}',
        }

    def command(self, path: str) -> str:
        """Return the command for a path."""
        body = self._bodies.get(path)
        if body is None:
            return f"curl {HOST}{path}"
        return f"curl -H 'content-type: application/json' -d {shlex.quote(body)} {HOST}{path}"

    def other_method(self, path: str, allowed: str) -> str:
        """Return the error message for a request with a method that the path does not accept."""
        return f"{path} takes {allowed} and no other method; for example: {self.command(path)}"


def _row(schema: FeatureSchema) -> dict[str, Any]:
    if len(schema.features) > SHOWN:
        return {"FEATURE": "VALUE, for each feature that GET /metadata lists"}
    return {feature.name: _value(feature) for feature in schema.features}


def _value(feature: Any) -> float | str | None:
    if feature.kind == "categorical":
        return next(iter(feature.categories or ()), None)
    if feature.minimum is None or feature.maximum is None:
        return None
    return float(f"{(feature.minimum + feature.maximum) / 2:.3g}")
