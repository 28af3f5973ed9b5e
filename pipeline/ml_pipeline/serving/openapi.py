"""The API as an OpenAPI 3.1 document, and as an HTML page made from it."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING, Any

from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    from ml_pipeline.features.schema import Feature, FeatureSchema
    from ml_pipeline.tasks.base import Task

FLOAT32_MAX = 3.4028234663852886e38
"""Largest finite float32."""

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}"
    "td,th{text-align:left;vertical-align:top;padding:.2em 1em .2em 0}"
    "code{font-family:ui-monospace,monospace}h2{margin-top:2em}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}"
)

STATUSES = {
    "400": "The body does not have the described format.",
    "401": "The bearer token is missing or wrong.",
    "408": "The body did not arrive in time.",
    "409": "The request is for another contract; the error names both digests.",
    "413": "Too many bytes or rows.",
    "415": "A compressed body, or another content type than the described ones.",
    "422": "The rows do not fit the model; the error names the feature and the row.",
    "429": "The queue of requests for the model is full; retry after Retry-After.",
    "500": "Internal server error.",
    "501": "The model's code cannot compute features here; the error says why.",
    "503": "No prediction in time, too many connections, or the server is shutting down.",
}


def document(
    schema: FeatureSchema,
    *,
    max_rows: int,
    version: str,
    secured: bool,
    max_raw_rows: int | None = None,
    task: Task = BINARY,
) -> dict[str, Any]:
    """Return the document of a model's API.

    Args:
        schema: the model's features; the document has the names and types of a row.
        max_rows: most rows of a request.
        version: of the server.
        secured: whether a bearer token is required.
        max_raw_rows: most raw rows of a request; None if they are not accepted.
        task: the model's task.
    """
    row = _row(schema)
    columns = {feature.name: _value(feature, schema) for feature in schema.features}
    required = [feature.name for feature in schema.features if not feature.optional]
    schemas = {
        "Row": row,
        "Rows": {"type": "array", "items": _ref("Row"), "minItems": 1, "maxItems": max_rows},
        "Record": {
            "type": "object",
            "properties": columns,
            "required": required,
            "additionalProperties": False,
        },
        "Records": {
            "type": "array",
            "items": _ref("Record"),
            "minItems": 1,
            "maxItems": max_rows,
        },
        "Contract": {"const": schema.contract}
        if not schema.accepts
        else {"enum": [schema.contract, *schema.accepts]},
        "Prediction": {
            "type": "object",
            "properties": {
                **task.answer_schema(),
                "model_version": {"type": ["integer", "null"]},
            },
            "required": [*task.answer_schema(), "model_version"],
            "additionalProperties": False,
        },
        "Error": _object(error={"type": "string"}),
        "MlflowError": _object(error_code={"type": "string"}, message={"type": "string"}),
        "Status": _object(status={"enum": ["live", "ready", "draining"]}),
    }
    paths = {
        "/predict": {"post": _predict(schema, task)},
        "/invocations": {"post": _invocations(schema, max_rows, task)},
        "/health/live": {"get": _get("Whether the process is alive", _json(_ref("Status")))},
        "/health/ready": {"get": _ready("Whether it accepts requests")},
        "/ping": {"get": _ready("As /health/ready, for MLflow's clients")},
        "/health": {"get": _ready("As /health/ready, for MLflow's clients")},
        "/version": {"get": _get("Version of this server", _text("text/plain"))},
        "/metadata": {
            "get": _get(
                "The model, its features in order, and the limits of a request",
                _json({"type": "object"}),
                secured=True,
            )
        },
        "/metrics": {
            "get": _get("Counters and histograms for Prometheus", _text("text/plain"), secured=True)
        },
        "/openapi.json": {"get": _get("This document", _json({"type": "object"}), secured=True)},
        "/docs": {"get": _get("This API as a page", _text("text/html"))},
    }
    if max_raw_rows is not None:
        paths["/predict/raw"] = {"post": _raw(max_raw_rows, task)}
    api: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "ml-pipeline server", "version": version},
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if secured:
        api["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path in paths.values():
            for operation in path.values():
                if "401" in operation["responses"]:
                    operation["security"] = [{"token": []}]
    else:
        for path in paths.values():
            for operation in path.values():
                operation["responses"].pop("401", None)
    return api


def page(api: dict[str, Any]) -> tuple[str, str]:
    """Return the document as HTML without scripts, and its Content-Security-Policy.

    It contains nothing about the model, since it is shown without a token.
    """
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>ml-pipeline server</title>",
        "<meta name=viewport content='width=device-width'>",
        f"<style>{STYLE}</style><h1>ml-pipeline server</h1>",
        "<p>The model's features, in order, are in <code>/metadata</code>.",
        "<p>The OpenAPI document is in <code>/openapi.json</code>.",
    ]
    if "securitySchemes" in api["components"]:
        parts.append("<p>Paths marked * require <code>Authorization: Bearer TOKEN</code>.")
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            mark = " *" if "security" in operation else ""
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code>{mark}</h2>")
            parts.append(f"<p>{escape(operation['summary'])}.")
            examples = operation.get("x-examples", ())
            parts += [f"<p><code>{escape(text)}</code>" for text in examples]
            rows = [
                f"<tr><th>{status}<td>{escape(response_schema['description'])}"
                for status, response_schema in operation["responses"].items()
            ]
            parts.append(f"<table>{''.join(rows)}</table>")
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return "\n".join(parts) + "\n", policy


def _predict(schema: FeatureSchema, task: Task) -> dict[str, Any]:
    by_position = ["features", "contract"] if schema.needs_contract else ["features"]
    forms = (
        ("rows", _ref("Records"), ["rows"]),
        ("features", _ref("Record"), ["features"]),
        ("features", {"anyOf": [_ref("Row"), _ref("Rows")]}, by_position),
    )
    body = {
        "oneOf": [
            {
                "type": "object",
                "properties": {key: value, "contract": _ref("Contract")},
                "required": required,
                "additionalProperties": False,
            }
            for key, value, required in forms
        ]
    }
    response_schema = {
        "anyOf": [_ref("Prediction"), {"type": "array", "items": _ref("Prediction")}]
    }
    errors = ("400", "401", "408", "409", "413", "415", "422", "429", "500", "503")
    return {
        "summary": "Predict one row, or a list of rows, by the names of the features or in their "
        "order",
        "x-examples": [
            (
                '{"features": {"age": 41, ...}} gives '
                f'{{{task.answer_example}, "model_version": 3}}'
            ),
            '{"rows": [{"age": 41, ...}, ...]} gives [{...}, ...], in order',
            '{"features": [41, "pro"]} and {"features": [[...], [...]]}: in the order of /metadata',
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _response("Predicted.", _json(response_schema)),
            **_errors(errors, "Error"),
        },
    }


def _raw(max_rows: int, task: Task) -> dict[str, Any]:
    value = {"type": ["number", "string", "boolean", "null"]}
    row = {"type": "object", "additionalProperties": value}
    body = {
        "type": "object",
        "properties": {
            "rows": {"type": "array", "items": row, "minItems": 1, "maxItems": max_rows},
            "since": {"type": "string", "format": "date"},
        },
        "required": ["rows"],
        "additionalProperties": False,
    }
    number = {"type": "integer", "minimum": 0}
    response_schema = _object(
        predictions={
            "type": "array",
            "items": _object(row=number, **task.answer_schema()),
        },
        model_version={"type": ["integer", "null"]},
        set_aside={
            "type": "array",
            "items": _object(row=number, tests={"type": "string"}),
        },
    )
    errors = ("400", "401", "408", "413", "415", "422", "429", "500", "501", "503")
    return {
        "summary": "Predict rows in the columns of the training data; the model's own code "
        "computes the features. With 'since', rows of earlier days are history only",
        "x-examples": [
            (
                '{"rows": [{"age": 41, "plan": "pro"}]} gives {"predictions": [{"row": 0, '
                f'{task.answer_example}}}], "model_version": 3, "set_aside": []}}'
            )
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _response("Predicted.", _json(response_schema)),
            **_errors(errors, "Error"),
        },
    }


def _invocations(schema: FeatureSchema, max_rows: int, task: Task) -> dict[str, Any]:
    names = {"type": "array", "items": {"type": "string"}, "const": list(schema.names)}
    whole = {**_row(schema), "minItems": len(schema.features)}
    rows = {"type": "array", "items": whole, "minItems": 1, "maxItems": max_rows}
    split = _object(columns=names, data=rows)
    records = _ref("Records")
    forms = [
        _object(dataframe_split=split),
        _object(dataframe_records=records),
        _object(inputs={"anyOf": [_ref("Rows"), records]}),
        _object(instances={"anyOf": [_ref("Rows"), records]}),
    ]
    response_schema = _object(predictions={"type": "array", "items": task.invocation_schema()})
    errors = ("400", "401", "408", "413", "415", "429", "500", "503")
    return {
        "summary": "Predict rows as MLflow's scoring server does: dataframe_split, "
        "dataframe_records, inputs, instances, or CSV with a line of names",
        "x-examples": [
            (
                '{"dataframe_split": {"columns": [...], "data": [[...]]}} gives '
                f'{{"predictions": [{task.invocation_example}]}}'
            )
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"oneOf": forms}},
                "text/csv": {"schema": {"type": "string"}},
            },
        },
        "responses": {
            "200": _response("Predicted.", _json(response_schema)),
            **_errors(errors, "MlflowError"),
        },
    }


def _ready(summary: str) -> dict[str, Any]:
    operation = _get(summary, _json(_ref("Status")))
    operation["responses"]["503"] = _response("The server is draining.", _json(_ref("Status")))
    return operation


def _get(summary: str, content: dict[str, Any], *, secured: bool = False) -> dict[str, Any]:
    responses = {"200": _response("OK.", content)}
    if secured:
        responses |= _errors(("401",), "Error")
    return {"summary": summary, "responses": responses}


def _errors(statuses: tuple[str, ...], schema: str) -> dict[str, Any]:
    return {status: _response(STATUSES[status], _json(_ref(schema))) for status in statuses}


def _response(description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": content}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _text(kind: str) -> dict[str, Any]:
    return {kind: {"schema": {"type": "string"}}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _row(schema: FeatureSchema) -> dict[str, Any]:
    return {
        "type": "array",
        "prefixItems": [
            {"title": feature.name, **_value(feature, schema)} for feature in schema.features
        ],
        "items": False,
        "minItems": schema.required,
        "maxItems": len(schema.features),
    }


def _value(feature: Feature, schema: FeatureSchema) -> dict[str, Any]:
    if feature.kind == "numeric":
        return {"type": ["number", "null"], "minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX}
    if schema.unseen == "refuse":
        return {"enum": [*feature.categories, None]}
    return {"type": ["string", "null"]}
