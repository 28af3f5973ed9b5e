"""The request and response format of ``POST /predict``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import UNSET

from ml_pipeline.core import documents
from ml_pipeline.serving.named_rows import NamedRows
from ml_pipeline.serving.prediction_log import PROBE
from ml_pipeline.serving.request_checks import RequestError
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    from ml_pipeline.features.schema import Feature, FeatureSchema
    from ml_pipeline.tasks.base import Task, Value

Body = bytes | bytearray
Rows = list[Any]

SHAPE = '{"rows": [{"NAME": value, ...}]} or {"features": ...}'
DIGEST_SHOWN = 64
PROBE_ID = PROBE.encode()


class RequestFormat(Protocol):
    """A format of requests for predictions and of their responses."""

    schema_error: int
    """Status code for rows that do not fit the model."""

    def parse(self, body: Body, headers: Mapping[bytes, bytes]) -> tuple[Rows, bool]:
        """Return the rows in the model's order, and whether the response is a list.

        Raises:
            RequestError: the body does not have this format.
            FeatureError: a row by name does not fit the model.
        """

    def answer(self, predictions: Sequence[Value], many: bool) -> bytes: ...

    def error(self, status: int, message: str) -> bytes: ...


_encode = msgspec.json.Encoder().encode


class PredictFormat:
    """Rows by name, ``{"rows": [{...}]}`` or ``{"features": {...}}``, or by position.

    By position: ``{"features": [...]}``, a row or a list of rows. Each of them may have
    ``contract``, the digest of the request contract that the client was written for; another digest
    is refused with 409. If the schema requires it for rows by position, only probes may omit it.

    A valid body is decoded in one call. If that fails, or if the body has more colons than keys and
    a key may be given twice, it is parsed again strictly.
    """

    schema_error = 422

    def __init__(self, version: int | None, schema: FeatureSchema, task: Task = BINARY) -> None:
        self._version = version
        self._answer = task.answer
        self._schema = schema
        self._named_rows = NamedRows(schema)
        self._decode = _decoder(schema)
        self._has_optional = any(feature.optional for feature in schema.features)
        self._width = len(schema.features)
        self._colons = self._width + sum(name.count(":") for name in schema.names)
        self._contracts = {schema.contract, *schema.accepts}

    def parse(self, body: Body, headers: Mapping[bytes, bytes]) -> tuple[Rows, bool]:
        contract_required = self._schema.needs_contract and headers.get(b"x-request-id") != PROBE_ID
        try:
            query = self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._parse_strictly(body, contract_required)
        rows, features, contract = query.rows, query.features, query.contract
        many = False
        if type(features) is list:
            colons = 1
            many = bool(features) and type(features[0]) is list
            parsed = features if many else [features]
        elif features is not UNSET:
            parsed = [_values(features)]
            colons = 1 + self._colons
        elif rows is not UNSET and rows:
            parsed, many = [*map(_values, rows)], True
            colons = 1 + self._colons * len(parsed)
        else:
            return self._parse_strictly(body, contract_required)
        colons += (contract is not UNSET) + (rows is not UNSET and features is not UNSET)
        if self._has_optional:
            colons -= sum(row.count(UNSET) for row in parsed if type(row) is tuple)
            parsed = [*map(self._fill_optional, parsed)]
        if body.count(b":") != colons or (rows is not UNSET and features is not UNSET):
            return self._parse_strictly(body, contract_required)
        if contract is not UNSET:
            self._check_contract(contract)
        elif contract_required and type(features) is list:
            raise self._contract_error()
        return parsed, many

    def answer(self, predictions: Sequence[Value], many: bool) -> bytes:
        version = self._version
        answers = [*map(self._answer, predictions)]
        for each in answers:
            each["model_version"] = version
        return _encode(answers if many else answers[0])

    def error(self, status: int, message: str) -> bytes:  # noqa: ARG002
        return error(message)

    def _parse_strictly(self, body: Body, contract_required: bool) -> tuple[Rows, bool]:
        """Parse with Python's JSON parser, which accepts NaN, and report what is wrong.

        Raises:
            RequestError: 400 if the body is not JSON or has a key twice, 409 if its contract is
                another one, 422 if it has another structure.
            FeatureError: a row by name has an unknown name, or lacks a required one.
        """
        values = parse_strict_json(body)
        if not isinstance(values, dict) or not {"rows", "features"} & {*values}:
            raise RequestError(422, f"expected an object: {SHAPE}")
        if {"rows", "features"} <= {*values}:
            raise RequestError(422, "'rows' and 'features' at once; expected one of them")
        if {*values} - {"rows", "features", "contract"}:
            raise RequestError(
                422, f"unknown keys; expected {SHAPE}, and 'contract' beside it at most"
            )
        if "contract" in values:
            self._check_contract(values["contract"])
        if "rows" in values:
            return self._by_name(values["rows"]), True
        features = values["features"]
        if isinstance(features, dict):
            return [self._named_rows.arrange(features, 0)], False
        if not isinstance(features, list):
            raise RequestError(
                422, "'features' is neither an object nor a list; expected a row or a list of rows"
            )
        if contract_required and "contract" not in values:
            raise self._contract_error()
        if features and all(isinstance(row, dict) for row in features):
            raise RequestError(422, "a list of objects is expected under 'rows', not 'features'")
        many = bool(features) and isinstance(features[0], list)
        parsed = features if many else [features]
        return [*map(self._fill_optional, parsed)] if self._has_optional else parsed, many

    def _by_name(self, rows: Any) -> Rows:
        if not isinstance(rows, list) or not rows:
            raise RequestError(422, "'rows' is not a list of at least one object")
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                raise RequestError(
                    422,
                    f"row {number} of 'rows' is not an object; by position use 'features'",
                )
        return [self._named_rows.arrange(row, number) for number, row in enumerate(rows)]

    def _fill_optional(self, row: Any) -> Any:
        """Return the row with None for each optional feature that it omits."""
        if type(row) is tuple:
            return [None if value is UNSET else value for value in row]
        if type(row) is list and self._schema.required <= len(row) < self._width:
            return [*row, *[None] * (self._width - len(row))]
        return row

    def _contract_error(self) -> RequestError:
        return RequestError(
            409,
            "a row by position needs 'contract', since the features of this model or their order "
            'have changed; send names, as in {"features": {"NAME": VALUE}}, or compare GET '
            f'/metadata and give "contract": "{self._schema.contract}"',
        )

    def _check_contract(self, digest: Any) -> None:
        if isinstance(digest, str) and digest in self._contracts:
            return
        shown = digest[:DIGEST_SHOWN] if isinstance(digest, str) else "that is not a string"
        raise RequestError(
            409,
            f"the request is for contract {shown}; this model's is {self._schema.contract}: its "
            "features, their order or types have changed; GET /metadata lists them",
        )


_values = msgspec.structs.astuple


def _decoder(schema: FeatureSchema) -> Any:
    """Return a function that decodes a request of each shape, with the features' types."""
    try:
        row = msgspec.defstruct(
            "Row",
            [_field(number, feature) for number, feature in enumerate(schema.features)],
            rename={f"f{number}": name for number, name in enumerate(schema.names)},
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )
    except ValueError:  # a name that msgspec does not accept, such as one with a quote
        row = msgspec.defstruct("Row", [("none", int)], forbid_unknown_fields=True)
    query = msgspec.defstruct(
        "Query",
        [
            ("rows", list[row] | msgspec.UnsetType, UNSET),  # type: ignore[valid-type]
            ("features", row | list[Any] | msgspec.UnsetType, UNSET),
            ("contract", str | msgspec.UnsetType, UNSET),
        ],
        forbid_unknown_fields=True,
    )
    return msgspec.json.Decoder(query).decode


def _field(number: int, feature: Feature) -> Any:
    kind: Any = (float if feature.kind == "numeric" else str) | None
    if feature.optional:
        return (f"f{number}", kind | msgspec.UnsetType, UNSET)
    return (f"f{number}", kind)


def by_position(rows: Rows, many: bool) -> bytes:
    """Return a request by position for rows in the model's order."""
    values = {"features": rows if many else rows[0]}
    try:
        return _encode(values)
    except (ValueError, OverflowError):  # an integer over 64 bits, or a lone surrogate
        return json.dumps(values).encode()


def error(message: str) -> bytes:
    """Return the body of an error response."""
    return _encode({"error": printable(message)})


def printable(text: str) -> str:
    """Return the text with lone surrogates escaped, which JSON allows and UTF-8 does not."""
    return text.encode("utf-8", "backslashreplace").decode()


def parse_strict_json(body: Body) -> Any:
    """Parse JSON with NaN and numbers of any size, but refuse duplicate keys.

    Raises:
        RequestError: 400 if the body is not JSON.
    """
    try:
        return json.loads(body, object_pairs_hook=documents.unique)
    except documents.KeyTwiceError as error:
        reason = f"the key {str(error)[:40]!r} is given twice"
        raise RequestError(400, f"the body is not JSON: {reason}") from None
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "unreadable"
        raise RequestError(400, f"the body is not JSON: {reason}") from None
