"""How a request of ``POST /predict`` says its rows, and how they are answered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from pipeline.serving.requests import RequestError

Body = bytes | bytearray
Rows = list[Any]


class Form(Protocol):
    """A way to ask for predictions."""

    misfit: int
    """The status for what does not fit the model."""

    def parse(self, body: Body, headers: Mapping[bytes, bytes]) -> tuple[Rows, bool]:
        """Return the rows, and whether a list of answers is expected.

        Raises:
            RequestError: the body is none of this form.
        """

    def answer(self, probabilities: Sequence[float], many: bool) -> bytes: ...

    def error(self, status: int, message: str) -> bytes: ...


class Prediction(msgspec.Struct):
    probability: float
    model_version: int | None


class _Query(msgspec.Struct, forbid_unknown_fields=True):
    features: list[Any]


_decode = msgspec.json.Decoder(_Query).decode
_encode = msgspec.json.Encoder().encode


class Features:
    """``{"features": [...]}``, a row or a list of rows."""

    misfit = 422

    def __init__(self, version: int | None) -> None:
        self._version = version

    def parse(self, body: Body, headers: Mapping[bytes, bytes]) -> tuple[Rows, bool]:  # noqa: ARG002
        values = parse(body)
        many = bool(values) and type(values[0]) is list
        return (values, True) if many else ([values], False)

    def answer(self, probabilities: Sequence[float], many: bool) -> bytes:
        version = self._version
        if many:
            return _encode([Prediction(each, version) for each in probabilities])
        return _encode(Prediction(probabilities[0], version))

    def error(self, status: int, message: str) -> bytes:  # noqa: ARG002
        return error(message)


def error(message: str) -> bytes:
    """Return the answer to a request that is refused."""
    return _encode({"error": printable(message)})


def printable(text: str) -> str:
    """Return the text without halves of characters, which JSON lets through and UTF-8 does not."""
    return text.encode("utf-8", "backslashreplace").decode()


def parse(body: Body) -> list[Any]:
    """Return the value of ``features``, the one key of a request.

    Raises:
        RequestError: 400 where the body is not JSON or gives a key twice, 422 where it is another
            value than an object with a list under this one key.
    """
    try:
        if body.count(b'"features"') == 1 and b"\\" not in body:
            return _decode(body).features
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # what is wrong is told by the slow way, which also knows NaN
    return _parse_with_care(body)


def _parse_with_care(body: Body) -> list[Any]:
    values = careful_json(body)
    if not isinstance(values, dict) or "features" not in values:
        raise RequestError(422, 'expected an object: {"features": [...]}')
    if len(values) != 1:
        raise RequestError(422, "unknown keys beside 'features'; it is the only one")
    features = values["features"]
    if not isinstance(features, list):
        raise RequestError(422, "'features' is not a list: a row, or a list of rows")
    return features


def careful_json(body: Body) -> Any:
    """Parse JSON as Python does, with NaN and numbers of any size, but no key twice.

    Raises:
        RequestError: 400 where it is none.
    """
    try:
        return json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, json.JSONDecodeError | _TwiceError) else "unreadable"
        raise RequestError(400, f"the body is not JSON: {told}") from None


class _TwiceError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError("a key is given twice")
    return found
