"""The HTTP API of a bundle. Imports ONNX Runtime, numpy and the web stack, nothing else.

==================== ====================================================================
POST /predict        ``{"features": [...]}`` gives ``{"probability": p, "model_version": v}``;
                     a list of rows gives the list of such answers
POST /invocations    the same in the forms of MLflow's scoring server
GET /health/live     200 while the process answers
GET /health/ready    200 while it takes requests, 503 while it drains; also as MLflow's
                     /ping and /health
GET /metadata        the model, its features in order, and the limits of a request
GET /version         of this server
GET /metrics         for Prometheus
GET /openapi.json    this API, for programs; /docs for people
==================== ====================================================================

Errors are one line in ``error`` (``message`` where MLflow has it there); docs/reference/serving.md
lists them. Every answer has an ``X-Request-ID``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from pipeline import __version__
from pipeline.features.schema import FeatureError
from pipeline.serving import openapi
from pipeline.serving.forms import Features, Form, error
from pipeline.serving.inference import Inference
from pipeline.serving.invocations import Invocations
from pipeline.serving.logs import FACTS, RequestLog
from pipeline.serving.metrics import Metrics
from pipeline.serving.predictions import PROBE
from pipeline.serving.requests import RequestError, authorise, read, request_id

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from pipeline.bundle.reader import Bundle
    from pipeline.serving.mirror import Mirror
    from pipeline.serving.predictions import PredictionLog

logger = logging.getLogger("pipeline.serving")

JSON: Final = "application/json"
PROBE_ID: Final = PROBE.encode()
MIRRORED: Final = "/predict"
"""The path whose requests are copied to a challenger."""
FAULT: Final = "a fault of the server; its log tells more"
PATHS: Final = (
    "/predict",
    "/invocations",
    "/health/live",
    "/health/ready",
    "/ping",
    "/health",
    "/metadata",
    "/version",
    "/metrics",
    "/openapi.json",
    "/docs",
)


@dataclass(frozen=True)
class Limits:
    """The largest request, and how many may wait for how long."""

    max_body: int
    """Bytes of its body."""
    max_rows: int
    max_queue: int = 64
    """Requests that wait for the model where it is slow."""
    max_seconds: float = 5.0
    """Longest time that one of them waits."""


@dataclass
class State:
    """What the process knows of itself; ``draining`` is set once it takes no new connections.

    ``mirror`` takes copies of answered requests while a challenger is watched; ``offered`` and
    ``dropped`` count those of mirrors that have ended.
    """

    draining: bool = False
    mirror: Mirror | None = None
    offered: int = 0
    dropped: int = 0

    @property
    def mirrored(self) -> tuple[int, int]:
        """Requests that were offered to mirrors until now, and those of them that were dropped."""
        if self.mirror is None:
            return self.offered, self.dropped
        return self.offered + self.mirror.offered, self.dropped + self.mirror.dropped


@dataclass(frozen=True)
class Service:
    """What both ways to ask for predictions share."""

    limits: Limits
    state: State
    token: bytes | None
    inference: Inference
    metrics: Metrics
    requests: RequestLog
    log: PredictionLog | None


class Scoring:
    """``POST`` of rows on one path, as an ASGI application: the way that has to be fast."""

    def __init__(self, path: str, form: Form, service: Service) -> None:
        self._path = path
        self._form = form
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        service, form = self._service, self._form
        service.metrics.in_flight += 1
        headers = dict(scope["headers"])
        number = request_id(headers.get(b"x-request-id"))
        status, told, retry_after = 200, None, None
        rows: list[Any] = []
        probabilities: list[float] = []
        body: bytes | bytearray = b""
        try:
            try:
                if service.token is not None:
                    authorise(scope, service.token)
                body = await read(scope, headers, receive, service.limits.max_body)
                rows, many = form.parse(body, headers)
                self._check_number(rows)
                inference = service.inference
                if inference.is_quick(len(rows)):
                    probabilities = inference.now(rows)
                else:
                    probabilities = await inference.later(rows)
                answer = form.answer(probabilities, many)
            except RequestError as refused:
                status, told, retry_after = refused.status, str(refused), refused.retry_after
            except FeatureError as misfit:
                status, told = form.misfit, str(misfit)
            except Exception:
                logger.exception("fault", extra={FACTS: {"request_id": number.decode()}})
                status, told = 500, FAULT
            if told is not None:
                answer = form.error(status, told)
            fields = [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(answer)),
                (b"x-request-id", number),
            ]
            if status == 401:
                fields.append((b"www-authenticate", b"Bearer"))
            if retry_after is not None:
                fields.append((b"retry-after", b"%d" % retry_after))
            if service.state.draining:
                fields.append((b"connection", b"close"))
            await send({"type": "http.response.start", "status": status, "headers": fields})
            await send({"type": "http.response.body", "body": answer})
        finally:
            service.metrics.in_flight -= 1
        seconds = time.perf_counter() - started
        self._count(number, status, seconds)
        service.requests.answered(number, "POST", self._path, status, seconds, told)
        if told is None:
            self._predicted(number, rows, probabilities)
            self._copy(number, body, answer, seconds)

    def _count(self, number: bytes, status: int, seconds: float) -> None:
        if number == PROBE_ID:
            self._service.metrics.probes += 1
        else:
            self._service.metrics.answered(self._path, status, seconds)

    def _predicted(self, number: bytes, rows: list[Any], probabilities: list[float]) -> None:
        if number != PROBE_ID:
            self._service.metrics.predicted(probabilities)
        if self._service.log is not None:
            self._service.log.add(number.decode(), rows, probabilities)

    def _copy(self, number: bytes, body: bytes | bytearray, answer: bytes, seconds: float) -> None:
        mirror = self._service.state.mirror
        if mirror is not None and self._path == MIRRORED and number != PROBE_ID:
            mirror.offer(body, answer, seconds, number.decode())

    def _check_number(self, rows: list[Any]) -> None:
        limit = self._service.limits.max_rows
        if len(rows) > limit:
            raise RequestError(413, f"{len(rows)} rows; at most {limit} in one request")


class Application:
    """The whole API as one ASGI application; predictions do not pass through a router."""

    def __init__(self, scoring: Mapping[str, Scoring], pages: Starlette, service: Service) -> None:
        self._scoring = scoring
        self._pages = pages
        self._service = service

    @property
    def metrics(self) -> Metrics:
        return self._service.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._pages(scope, receive, send)
            return
        scoring = self._scoring.get(scope["path"])
        if scoring is not None and scope["method"] == "POST":
            await scoring(scope, receive, send)
        else:
            await self._page(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        metrics = self._service.metrics
        metrics.in_flight += 1
        number = request_id(dict(scope["headers"]).get(b"x-request-id"))
        status = 500

        async def finished(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", number))
                if self._service.state.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self._pages(scope, receive, finished)
        except Exception:  # the answer, 500, has been sent
            logger.exception("fault", extra={FACTS: {"request_id": number.decode()}})
        finally:
            metrics.in_flight -= 1
            seconds = time.perf_counter() - started
            path = scope["path"]
            metrics.answered(path, status, seconds)
            self._service.requests.answered(number, scope["method"], path[:200], status, seconds)


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
    bundle: Bundle,
    version: int | None,
    limits: Limits,
    state: State,
    token: str | None = None,
    *,
    log: PredictionLog | None = None,
    log_requests: float = 0.0,
) -> Application:
    """Return the ASGI application that answers for a verified bundle.

    Args:
        bundle: opened and verified; its golden predictions have been checked.
        version: the registered version; None for a bundle that no registry numbered.
        limits: the largest request, and how many may wait.
        state: tells the application that the process drains.
        token: the bearer token that all but health, version and /docs ask for; None asks for none.
        log: where answered requests are logged; None logs none.
        log_requests: share of the requests that get a line in the server's log.
    """
    metrics = Metrics(bundle.project, version, bundle.digest, PATHS)
    inference = Inference(bundle, limits.max_queue, limits.max_seconds)
    metrics.queue = lambda: inference.waiting
    metrics.log = log
    metrics.mirrored = lambda: state.mirrored
    service = Service(
        limits=limits,
        state=state,
        token=None if token is None else token.encode(),
        inference=inference,
        metrics=metrics,
        requests=RequestLog(log_requests),
        log=log,
    )
    scoring = {
        "/predict": Scoring("/predict", Features(version), service),
        "/invocations": Scoring("/invocations", Invocations(bundle.schema), service),
    }
    return Application(scoring, _pages(bundle, version, service, scoring), service)


def _pages(
    bundle: Bundle, version: int | None, service: Service, scoring: Mapping[str, Scoring]
) -> Starlette:
    described = msgspec.json.encode(metadata(bundle, version, service.limits))
    document = openapi.document(
        bundle.schema,
        max_rows=service.limits.max_rows,
        version=__version__,
        secured=service.token is not None,
    )
    listed = msgspec.json.encode(document)
    page, policy = openapi.page(document)

    def told(content: bytes | str, kind: str = JSON, **headers: str) -> Any:
        async def answer(_: Request) -> Response:
            return Response(content, headers=headers, media_type=kind)

        return answer

    def secured(endpoint: Any) -> Any:
        async def answer(request: Request) -> Response:
            try:
                authorise(request.scope, service.token)
            except RequestError as refused:
                headers = {"www-authenticate": "Bearer"}
                return Response(error(str(refused)), refused.status, headers, JSON)
            return await endpoint(request)  # type: ignore[no-any-return]

        return answer

    async def ready(_: Request) -> Response:
        if service.state.draining:
            return Response(b'{"status":"draining"}', 503, media_type=JSON)
        return Response(b'{"status":"ready"}', media_type=JSON)

    async def measured(request: Request) -> Response:
        content, kind = service.metrics.page(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": kind})

    async def http_error(_: Request, fault: Exception) -> Response:
        status = fault.status_code if isinstance(fault, HTTPException) else 500
        headers = (fault.headers or {}) if isinstance(fault, HTTPException) else {}
        text = {404: "no such path", 405: "this path has another method"}.get(status, "refused")
        return Response(error(text), status, headers=dict(headers), media_type=JSON)

    async def failed(_: Request, __: Exception) -> Response:
        return Response(error(FAULT), 500, media_type=JSON)

    routes = [
        *(Route(path, app, methods=["POST"]) for path, app in scoring.items()),
        Route("/health/live", told(b'{"status":"live"}')),
        *(Route(path, ready) for path in ("/health/ready", "/ping", "/health")),
        Route("/metadata", secured(told(described))),
        Route("/version", told(__version__, "text/plain")),
        Route("/metrics", secured(measured)),
        Route("/openapi.json", secured(told(listed))),
        Route("/docs", told(page, "text/html", **{"content-security-policy": policy})),
    ]
    handlers: dict[Any, Any] = {HTTPException: http_error, Exception: failed}
    pages = Starlette(routes=routes, exception_handlers=handlers)
    pages.router.redirect_slashes = False
    return pages
