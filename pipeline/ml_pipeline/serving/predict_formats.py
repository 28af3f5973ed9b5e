"""How a request of ``POST /predict`` says its rows, and how they are answered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import UNSET

from ml_pipeline.core import documents
from ml_pipeline.serving.named_rows import Named
from ml_pipeline.serving.prediction_log import PROBE
from ml_pipeline.serving.requests import RequestError
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    from ml_pipeline.features.schema import Feature, FeatureSchema
    from ml_pipeline.tasks.base import Task, Value

Body = bytes | bytearray
Rows = list[Any]

SHAPE = '{"rows": [{"NAME": value, ...}]} or {"features": ...}'
DIGEST_SHOWN = 64
PROBE_ID = PROBE.encode()


class Form(Protocol):
    """A way to ask for predictions."""

    schema_error: int
    """The status for what does not fit the model."""

    def parse(self, body: Body, headers: Mapping[bytes, bytes]) -> tuple[Rows, bool]:
        """Return the rows in the model's order, and whether a list of answers is expected.

        Raises:
            RequestError: the body is none of this form.
            FeatureError: a row by name does not fit the model.
        """

    def answer(self, predictions: Sequence[Value], many: bool) -> bytes: ...

    def error(self, status: int, message: str) -> bytes: ...


_encode = msgspec.json.Encoder().encode


class Features:
    """Rows by name, ``{"rows": [{...}]}`` or ``{"features": {...}}``, or by position.

    By position: ``{"features": [...]}``, a row or a list of rows. With each of them ``contract``,
    the digest that the client was written for, may be given; another one is refused with 409. Where
    the schema needs it for rows by position, only requests of this program go without.

    What fits is decoded in one call. It is decoded again with care where that fails, and where the
    number of colons is not that of the keys: a key may then be given twice.
    """

    schema_error = 422

    def __init__(self, version: int | None, schema: FeatureSchema, task: Task = BINARY) -> None:
        self._version = version
        self._answer = task.answer
        self._schema = schema
        self._named = Named(schema)
        self._decode = _decoder(schema)
        self._has_optional = any(feature.optional for feature in schema.features)
        self._width = len(schema.features)
        self._colons = self._width + sum(name.count(":") for name in schema.names)
        self._contracts = {schema.contract, *schema.accepts}

    def parse(self, body: Body, headers: Mapping[bytes, bytes]) -> tuple[Rows, bool]:
        needs = self._schema.needs_contract and headers.get(b"x-request-id") != PROBE_ID
        try:
            query = self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._with_care(body, needs)
        rows, features, contract = query.rows, query.features, query.contract
        many = False
        if type(features) is list:
            colons = 1
            many = bool(features) and type(features[0]) is list
            found = features if many else [features]
        elif features is not UNSET:
            found = [_values(features)]
            colons = 1 + self._colons
        elif rows is not UNSET and rows:
            found, many = [*map(_values, rows)], True
            colons = 1 + self._colons * len(found)
        else:
            return self._with_care(body, needs)
        colons += (contract is not UNSET) + (rows is not UNSET and features is not UNSET)
        if self._has_optional:
            colons -= sum(row.count(UNSET) for row in found if type(row) is tuple)
            found = [*map(self._filled, found)]
        if body.count(b":") != colons or (rows is not UNSET and features is not UNSET):
            return self._with_care(body, needs)
        if contract is not UNSET:
            self._check_contract(contract)
        elif needs and type(features) is list:
            raise self._without_contract()
        return found, many

    def answer(self, predictions: Sequence[Value], many: bool) -> bytes:
        version = self._version
        answers = [*map(self._answer, predictions)]
        for each in answers:
            each["model_version"] = version
        return _encode(answers if many else answers[0])

    def error(self, status: int, message: str) -> bytes:  # noqa: ARG002
        return error(message)

    def _with_care(self, body: Body, needs: bool) -> tuple[Rows, bool]:
        """Parse as Python does, which knows NaN, and say what is wrong.

        Raises:
            RequestError: 400 where the body is not JSON or gives a key twice, 409 where it is
                written for another contract, 422 where it is of another shape.
            FeatureError: a row by name has an unknown name, or lacks a required one.
        """
        values = careful_json(body)
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
            return [self._named.row(features, 0)], False
        if not isinstance(features, list):
            raise RequestError(
                422, "'features' is neither an object, nor a list: a row, or a list of rows"
            )
        if needs and "contract" not in values:
            raise self._without_contract()
        if features and all(isinstance(row, dict) for row in features):
            raise RequestError(422, "a list of objects is expected under 'rows', not 'features'")
        many = bool(features) and isinstance(features[0], list)
        found = features if many else [features]
        return [*map(self._filled, found)] if self._has_optional else found, many

    def _by_name(self, rows: Any) -> Rows:
        if not isinstance(rows, list) or not rows:
            raise RequestError(422, "'rows' is no list of at least one object")
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                raise RequestError(
                    422, f"row {number} of 'rows' is no object; by position is 'features'"
                )
        return [self._named.row(row, number) for number, row in enumerate(rows)]

    def _filled(self, row: Any) -> Any:
        """Return the row with None for each optional feature that it leaves out."""
        if type(row) is tuple:
            return [None if value is UNSET else value for value in row]
        if type(row) is list and self._schema.required <= len(row) < self._width:
            return [*row, *[None] * (self._width - len(row))]
        return row

    def _without_contract(self) -> RequestError:
        return RequestError(
            409,
            "a row by position needs 'contract', since the features of this model or their order "
            'have changed; name them, as in {"features": {"NAME": VALUE}}, or compare GET '
            f'/metadata and give "contract": "{self._schema.contract}"',
        )

    def _check_contract(self, given: Any) -> None:
        if isinstance(given, str) and given in self._contracts:
            return
        shown = given[:DIGEST_SHOWN] if isinstance(given, str) else "no text"
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
    except ValueError:  # a name that msgspec does not take, such as one with a quote
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
    except (ValueError, OverflowError):  # an integer over 64 bits, or half a character
        return json.dumps(values).encode()


def error(message: str) -> bytes:
    """Return the answer to a request that is refused."""
    return _encode({"error": printable(message)})


def printable(text: str) -> str:
    """Return the text without halves of characters, which JSON lets through and UTF-8 does not."""
    return text.encode("utf-8", "backslashreplace").decode()


def careful_json(body: Body) -> Any:
    """Parse JSON as Python does, with NaN and numbers of any size, but no key twice.

    Raises:
        RequestError: 400 where it is none.
    """
    try:
        return json.loads(body, object_pairs_hook=documents.unique)
    except documents.KeyTwiceError as error:
        told = f"the key {str(error)[:40]!r} is given twice"
        raise RequestError(400, f"the body is not JSON: {told}") from None
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, json.JSONDecodeError) else "unreadable"
        raise RequestError(400, f"the body is not JSON: {told}") from None
