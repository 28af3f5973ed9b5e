"""The HTTP API of a bundle. Imports ONNX Runtime, numpy and the web stack, nothing else.

=================== =====================================================================
POST /predict       ``{"features": [...]}`` gives ``{"probability": p, "model_version": v}``;
                    a list of rows gives the list of such answers
GET /health/live    200 while the process answers
GET /health/ready   200 while it takes requests, 503 while it drains
GET /metadata       the model, its features in order, and the limits of a request
=================== =====================================================================

Every error is ``{"error": "one line"}``: 400 not JSON, 401 no or wrong token, 404, 405, 408 the
body does not arrive, 413 too large, 415 compressed, 422 does not fit the model.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from pipeline.features.schema import FeatureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from pipeline.bundle.reader import Bundle
    from pipeline.serving.mirror import Mirror

logger = logging.getLogger("pipeline.serving")

BODY_SECONDS = 10.0
"""Time for a body to arrive, once its headers have."""

JSON: Final = "application/json"


@dataclass(frozen=True)
class Limits:
    """The largest request: bytes of its body and rows in it."""

    max_body: int
    max_rows: int


@dataclass
class State:
    """What the process knows of itself; ``draining`` is set once it takes no new connections.

    ``mirror`` takes copies of answered requests while a challenger is watched.
    """

    draining: bool = False
    mirror: Mirror | None = None


class Prediction(msgspec.Struct):
    probability: float
    model_version: int | None


class _Query(msgspec.Struct, forbid_unknown_fields=True):
    features: list[Any]


_decode = msgspec.json.Decoder(_Query).decode
_encode = msgspec.json.Encoder().encode


class RequestError(Exception):
    """A request that is answered with ``status`` and one line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Predict:
    """``POST /predict`` as an ASGI application of its own: the way that has to be fast."""

    def __init__(
        self, bundle: Bundle, version: int | None, limits: Limits, state: State, token: bytes | None
    ) -> None:
        self._bundle = bundle
        self._version = version
        self._limits = limits
        self._state = state
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, body = 200, b""
        start = time.perf_counter()
        try:
            _authorise(scope, self._token)
            body = await _read(scope, receive, self._limits.max_body)
            answer = _encode(self._answer(body))
        except RequestError as error:
            status, answer = error.status, _error(str(error))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
        ]
        if self._state.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
        if self._state.mirror is not None and status == 200:
            self._state.mirror.offer(body, answer, time.perf_counter() - start)

    def _answer(self, body: bytes) -> Prediction | list[Prediction]:
        values = parse(body)
        many = bool(values) and type(values[0]) is list
        rows: list[Any] = values if many else [values]
        if len(rows) > self._limits.max_rows:
            raise RequestError(
                413, f"{len(rows)} rows; at most {self._limits.max_rows} in one request"
            )
        try:
            encoded = self._bundle.schema.encode_rows(rows)
        except FeatureError as error:
            raise RequestError(422, str(error)) from None
        answers = [
            Prediction(probability, self._version)
            for probability in self._bundle.predict(encoded).tolist()
        ]
        return answers if many else answers[0]


def parse(body: bytes) -> list[Any]:
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


def _parse_with_care(body: bytes) -> list[Any]:
    try:
        values = json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, json.JSONDecodeError | _TwiceError) else "unreadable"
        raise RequestError(400, f"the body is not JSON: {told}") from None
    if not isinstance(values, dict) or "features" not in values:
        raise RequestError(422, 'expected an object: {"features": [...]}')
    if len(values) != 1:
        raise RequestError(422, "unknown keys beside 'features'; it is the only one")
    features = values["features"]
    if not isinstance(features, list):
        raise RequestError(422, "'features' is not a list: a row, or a list of rows")
    return features


class _TwiceError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError("a key is given twice")
    return found


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the body; never holds more than ``limit`` bytes and a chunk of it."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:20]) > limit:
            raise _too_large(limit)
        if name == b"content-encoding" and value.lower() != b"identity":
            raise RequestError(415, "the body is compressed; send it plain")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _body(receive, limit)
    except TimeoutError:
        raise RequestError(408, f"no whole body within {BODY_SECONDS:g} s") from None
    if len(body) > limit:
        raise _too_large(limit)
    return body


async def _body(receive: Receive, limit: int) -> bytes:
    body, more = bytearray(), True
    while more and len(body) <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(400, "the body ended early")
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _too_large(limit: int) -> RequestError:
    return RequestError(413, f"the body is too large; at most {limit} bytes")


def _authorise(scope: Scope, token: bytes | None) -> None:
    if token is None:
        return
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    scheme, _, credential = (given[0] if len(given) == 1 else b"").partition(b" ")
    if scheme.lower() != b"bearer" or not hmac.compare_digest(credential.strip(), token):
        raise RequestError(401, "a bearer token is needed, and this is none or not the right one")


def _error(message: str) -> bytes:
    return _encode({"error": message.encode("utf-8", "backslashreplace").decode()})


def metadata(bundle: Bundle, version: int | None, limits: Limits) -> dict[str, Any]:
    """Return what ``/metadata`` tells: enough to make a valid request, nothing of the machine."""
    schema = bundle.schema.to_json()
    return {
        "name": bundle.project,
        "model_version": version,
        "digest": bundle.digest,
        "identity": bundle.identity,
        "profile": bundle.profile,
        "cutoffs": bundle.cutoffs,
        "features": schema["features"],
        "unseen": schema["unseen"],
        "max_body": limits.max_body,
        "max_rows": limits.max_rows,
    }


def make_app(
    bundle: Bundle, version: int | None, limits: Limits, state: State, token: str | None = None
) -> Starlette:
    """Return the ASGI application that answers for a verified bundle.

    Args:
        bundle: opened and verified; its golden predictions have been checked.
        version: the registered version; None for a bundle that no registry numbered.
        limits: the largest request.
        state: tells the application that the process drains.
        token: the bearer token that /predict and /metadata ask for; None asks for none.
    """
    secret = None if token is None else token.encode()
    described = _encode(metadata(bundle, version, limits))

    def answer(content: bytes, status: int = 200) -> Response:
        headers = {"connection": "close"} if state.draining else None
        return Response(content, status, headers=headers, media_type=JSON)

    async def live(_: Request) -> Response:
        return answer(b'{"status":"live"}')

    async def ready(_: Request) -> Response:
        if state.draining:
            return answer(b'{"status":"draining"}', 503)
        return answer(b'{"status":"ready"}')

    async def describe(request: Request) -> Response:
        try:
            _authorise(request.scope, secret)
        except RequestError as error:
            return answer(_error(str(error)), error.status)
        return answer(described)

    async def http_error(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = (error.headers or {}) if isinstance(error, HTTPException) else {}
        told = {404: "no such path", 405: "this path has another method"}.get(status, "refused")
        return Response(_error(told), status, headers=dict(headers), media_type=JSON)

    async def fault(request: Request, _: Exception) -> Response:
        logger.error("fault while answering %s", request.url.path)
        return answer(_error("a fault of the server; its log tells more"), 500)

    routes: Sequence[Route] = [
        Route("/predict", Predict(bundle, version, limits, state, secret), methods=["POST"]),
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metadata", describe),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: http_error, Exception: fault})
    app.router.redirect_slashes = False
    return app
