"""The HTTP API of a bundle. Imports ONNX Runtime, numpy and the web stack, nothing else.

==================== ====================================================================
POST /predict        ``{"features": {"age": 41, ...}}`` gives ``{"probability": p,
                     "model_version": v}``, or the keys of the model's task;
                     ``{"rows": [{...}, ...]}`` gives a list of them; also by position,
                     ``{"features": [...]}``
POST /invocations    the same in the formats of MLflow's scoring server
POST /predict/raw    raw rows, before feature computation: ``{"rows": [{"column": value}]}``
GET /health/live     200 while the process is alive
GET /health/ready    200 while it accepts requests, 503 while it drains; also at MLflow's
                     paths /ping and /health
GET /metadata        the model, its features in order, and the limits of a request
GET /version         version of this server
GET /metrics         metrics for Prometheus
GET /openapi.json    the OpenAPI document; /docs is an HTML page made from it
==================== ====================================================================

An error is one line in ``error`` (in ``message`` on /invocations, as in MLflow);
docs/reference/serving.md lists the status codes. Every response has an ``X-Request-ID``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from ml_pipeline import __version__
from ml_pipeline.features.schema import FeatureError
from ml_pipeline.serving import openapi
from ml_pipeline.serving.examples import Examples
from ml_pipeline.serving.feature_messages import ComputedFeatures
from ml_pipeline.serving.feature_worker_process import (
    UNAVAILABLE,
    FeatureWorker,
    RawRowLimits,
    RawRowsContext,
)
from ml_pipeline.serving.inference import Inference
from ml_pipeline.serving.invocations import InvocationsFormat
from ml_pipeline.serving.logs import LOG_FIELDS, RequestLog
from ml_pipeline.serving.predict_formats import (
    Body,
    PredictFormat,
    RequestFormat,
    Rows,
    by_position,
    error,
)
from ml_pipeline.serving.prediction_log import PROBE
from ml_pipeline.serving.refusals import Refusal, refusal_of
from ml_pipeline.serving.request_checks import (
    RequestError,
    authorise,
    check_headers,
    check_size,
    choose_request_id,
    read_body,
)
from ml_pipeline.serving.server_metrics import Metrics, ServedModel
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from ml_pipeline.bundle.reader import Bundle
    from ml_pipeline.serving.mirror import Mirror
    from ml_pipeline.serving.prediction_log import PredictionLog
    from ml_pipeline.tasks.base import Task, Value

logger = logging.getLogger("ml_pipeline.serving")

JSON_TYPE: Final = "application/json"
PROBE_ID: Final = PROBE.encode()
MIRRORED_PATH: Final = "/predict"
"""The path whose requests are copied to a challenger."""
RAW_PATH: Final = "/predict/raw"
INTERNAL_ERROR: Final = "internal server error; see the server's log"
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
class RequestLimits:
    """Limits on the size of a request and on the queue of the inference thread."""

    max_body: int
    """Bytes of a request body."""
    max_rows: int
    max_queue: int = 64
    """Requests that may wait for the inference thread."""
    max_seconds: float = 5.0
    """Longest time that a request waits for the inference thread."""


@dataclass
class ServerProcessState:
    """Mutable state of the server process; ``draining``: it accepts no new connections.

    ``mirror`` copies answered requests while a live shadow runs; ``offered`` and ``dropped`` are
    the totals of earlier mirrors.
    """

    draining: bool = False
    features: FeatureWorker | None = None
    mirror: Mirror | None = None
    offered: int = 0
    dropped: int = 0

    @property
    def mirrored(self) -> tuple[int, int]:
        """Totals of requests offered to mirrors and of those that were dropped."""
        if self.mirror is None:
            return self.offered, self.dropped
        return self.offered + self.mirror.offered, self.dropped + self.mirror.dropped


@dataclass(frozen=True)
class Service:
    """What all prediction endpoints share."""

    limits: RequestLimits
    state: ServerProcessState
    token: bytes | None
    inference: Inference
    metrics: Metrics
    requests: RequestLog
    log: PredictionLog | None


HeaderFields = list[tuple[bytes, bytes]]
"""HTTP header fields, names in lower case."""


class HttpResponse(NamedTuple):
    """A response to be sent."""

    status: int
    fields: HeaderFields
    body: bytes
    error: str | None = None
    """The error message, if the request failed."""


SendResponse = Callable[[HttpResponse], None]


class _RawRowsError(Exception):
    """The rows do not fit the model and may be raw rows; ``error`` is the schema error."""

    def __init__(self, error: FeatureError) -> None:
        super().__init__(str(error))
        self.error = error


class PredictionRequest:
    """A request for predictions while it is parsed and answered."""

    __slots__ = (
        "body",
        "computed",
        "fields",
        "headers",
        "is_probe",
        "many",
        "predictions",
        "raw",
        "refusal",
        "request_id",
        "rows",
        "started",
    )

    def __init__(self, fields: HeaderFields, body: Body = b"") -> None:
        self.started = time.perf_counter()
        self.fields = fields
        self.headers = dict(fields)
        self.request_id = choose_request_id(self.headers.get(b"x-request-id"))
        self.is_probe = self.request_id == PROBE_ID
        self.body = body
        self.rows: Rows = []
        self.many = False
        self.raw = False
        """Whether its rows are raw rows, on a path that accepts features as well."""
        self.computed: ComputedFeatures | None = None
        self.predictions: list[Value] = []
        self.refusal: Refusal | None = None


class PredictionEndpoint:
    """``POST`` of rows on one path; the latency-critical part of the server.

    An ASGI application. A protocol that holds a complete request may call ``fast_path`` instead,
    which gives the same response without the overhead of ASGI.
    """

    def __init__(self, path: str, request_format: RequestFormat, service: Service) -> None:
        self._path = path
        self._format = request_format
        self._service = service

    def fast_path(self, fields: HeaderFields, body: Body, send: SendResponse) -> bool:
        """Answer a complete request through ``send``, now or in the loop's next iteration.

        Return False, without any effect, if the request has to wait for the inference thread, or
        if the server drains and the response needs ``connection: close``.
        """
        if self._service.state.draining:
            return False
        inference, request = self._service.inference, PredictionRequest(fields, body)
        outcome: list[Value] | Exception
        try:
            self._admit(request)
            self._parse(request)
            rows = request.rows
            if not inference.fits_event_loop(len(rows)):
                return False
            if len(rows) == 1:
                inference.batch_single_rows(
                    rows[0], partial(self._send, request, send), probe=request.is_probe
                )
                return True
            outcome = inference.predict_inline(rows, probe=request.is_probe)
        except _RawRowsError:
            return False
        except Exception as error:  # noqa: BLE001  # becomes the error response
            outcome = error
        self._send(request, send, outcome)
        return True

    def flush(self) -> None:
        """Answer now the requests that wait for the loop's next iteration."""
        self._service.inference.flush()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        request = PredictionRequest(scope["headers"])
        service.metrics.in_flight += 1
        try:
            outcome: list[Value] | Exception
            try:
                self._admit(request)
                request.body = await read_body(scope, receive, service.limits.max_body)
                await self._read_rows(request)
                rows, probe = request.rows, request.is_probe
                if service.inference.fits_event_loop(len(rows)):
                    outcome = service.inference.predict_inline(rows, probe=probe)
                else:
                    outcome = await service.inference.in_thread(rows, probe=probe)
            except Exception as error:  # noqa: BLE001  # becomes the error response
                outcome = error
            response = self._respond(request, outcome)
            status, fields, body, _ = response
            if service.state.draining:
                fields.append((b"connection", b"close"))
            await send({"type": "http.response.start", "status": status, "headers": fields})
            await send({"type": "http.response.body", "body": body})
        finally:
            service.metrics.in_flight -= 1
        self._record(request, response)

    def _admit(self, request: PredictionRequest) -> None:
        """Check the headers before the body is read."""
        authorise(request.fields, self._service.token)
        check_headers(request.headers, self._service.limits.max_body)

    async def _read_rows(self, request: PredictionRequest) -> None:
        self._parse(request)

    def _parse(self, request: PredictionRequest) -> None:
        limits = self._service.limits
        check_size(request.body, limits.max_body)
        request.rows, request.many = self._format.parse(request.body, request.headers)
        rows = len(request.rows)
        if rows > limits.max_rows:
            raise RequestError(413, f"{rows} rows; at most {limits.max_rows} in one request")

    def _send(
        self, request: PredictionRequest, send: SendResponse, outcome: list[Value] | Exception
    ) -> None:
        response = self._respond(request, outcome)
        send(response)
        self._record(request, response)

    def _respond(
        self, request: PredictionRequest, outcome: list[Value] | Exception
    ) -> HttpResponse:
        if isinstance(outcome, Exception):
            return self._error_response(request, outcome)
        request.predictions = outcome
        body = self._format.answer(outcome, request.many)
        return HttpResponse(200, _header_fields(body, request.request_id), body)

    def _error_response(self, request: PredictionRequest, error: Exception) -> HttpResponse:
        """Return the response for a request that failed with ``error``."""
        more: HeaderFields = []
        if isinstance(error, RequestError):
            status, message = error.status, str(error)
            if status == 401:
                more.append((b"www-authenticate", b"Bearer"))
            if error.retry_after is not None:
                more.append((b"retry-after", b"%d" % error.retry_after))
        elif isinstance(error, FeatureError):
            status, message = self._format.schema_error, str(error)
        else:
            facts = {"request_id": request.request_id.decode()}
            logger.error("fault", exc_info=error, extra={LOG_FIELDS: facts})
            status, message = 500, INTERNAL_ERROR
        request.refusal = refusal_of(error)
        body = self._format.error(status, message)
        return HttpResponse(status, _header_fields(body, request.request_id) + more, body, message)

    def _record(self, request: PredictionRequest, response: HttpResponse) -> None:
        """Count the request, log it and mirror it to a challenger."""
        service, request_id = self._service, request.request_id
        status, _, body, error = response
        seconds = time.perf_counter() - request.started
        if request.is_probe:
            service.metrics.probes += 1
        else:
            # raw rows are counted separately: their cost depends on the client, not on the model
            service.metrics.record(RAW_PATH if request.raw else self._path, status, seconds)
        service.requests.record(request_id, "POST", self._path, status, seconds, error)
        if error is not None:
            if request.refusal is not None and not request.is_probe:
                service.metrics.count_refusal(request.refusal)
            return
        if not request.is_probe:
            service.metrics.count_predictions(request.predictions)
        if service.log is not None:
            service.log.add(request_id.decode(), request.rows, request.predictions)
        mirror = service.state.mirror
        if mirror is not None and self._path == MIRRORED_PATH and not request.is_probe:
            body_by_position = by_position(request.rows, request.many)
            mirror.offer(body_by_position, body, seconds, request_id.decode())


class RawRowsEndpoint(PredictionEndpoint):
    """``POST`` of raw rows, whose features a worker process computes."""

    def __init__(
        self,
        request_format: RequestFormat,
        service: Service,
        features: FeatureWorker,
        version: int | None,
        task: Task = BINARY,
    ) -> None:
        super().__init__(RAW_PATH, request_format, service)
        self._features = features
        self._version = version
        self._task_answer = task.answer

    async def _read_rows(self, request: PredictionRequest) -> None:
        check_size(request.body, self._service.limits.max_body)
        request.computed = await self._features.compute(request.body)
        request.rows = request.computed.rows

    def _respond(
        self, request: PredictionRequest, outcome: list[Value] | Exception
    ) -> HttpResponse:
        if isinstance(outcome, Exception):
            return self._error_response(request, outcome)
        assert request.computed is not None
        request.predictions = outcome
        placed = zip(request.computed.places, outcome, strict=True)
        body = msgspec.json.encode(
            {
                "predictions": [{"row": row, **self._task_answer(each)} for row, each in placed],
                "model_version": self._version,
                "set_aside": [
                    {"row": row, "tests": tests} for row, tests in request.computed.set_aside
                ],
            }
        )
        return HttpResponse(200, _header_fields(body, request.request_id), body)


class InvocationsEndpoint(PredictionEndpoint):
    """``POST /invocations`` that accepts raw rows too: those that lack a feature of the model."""

    def __init__(
        self, request_format: InvocationsFormat, service: Service, features: FeatureWorker
    ) -> None:
        super().__init__("/invocations", request_format, service)
        self._invocations = request_format
        self._features = features

    async def _read_rows(self, request: PredictionRequest) -> None:
        try:
            self._parse(request)
        except _RawRowsError as raw_error:
            frame = self._invocations.raw_rows(request.body, request.headers)
            if frame is None:
                raise raw_error.error from None
            request.raw = True
            try:
                computed = await self._features.compute(frame)
            except RequestError as refusal:
                is_schema_error = refusal.schema_error or refusal.status == UNAVAILABLE
                status = self._format.schema_error if is_schema_error else refusal.status
                message = f"{raw_error.error}; as raw rows: {refusal}"
                raise RequestError(
                    status, message, refusal.retry_after, schema_error=is_schema_error
                ) from None
            request.rows, request.many = computed.rows, True

    def _parse(self, request: PredictionRequest) -> None:
        try:
            super()._parse(request)
        except FeatureError as error:
            raise _RawRowsError(error) from None


def _header_fields(body: bytes, request_id: bytes) -> HeaderFields:
    return [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id),
    ]


class Application:
    """The whole API as one ASGI application; predictions do not pass through a router."""

    def __init__(
        self, endpoints: Mapping[str, PredictionEndpoint], pages: Starlette, service: Service
    ) -> None:
        self._endpoints = endpoints
        self._pages = pages
        self._service = service
        self.fast_path = {
            path.encode(): each
            for path, each in endpoints.items()
            if not isinstance(each, RawRowsEndpoint)
        }
        """Endpoints that can answer without ASGI, by path. See ``BoundedProtocol``."""

    @property
    def metrics(self) -> Metrics:
        return self._service.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._pages(scope, receive, send)
            return
        endpoint = self._endpoints.get(scope["path"])
        if endpoint is not None and scope["method"] == "POST":
            await endpoint(scope, receive, send)
        else:
            await self._page(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        metrics = self._service.metrics
        metrics.in_flight += 1
        request_id = choose_request_id(dict(scope["headers"]).get(b"x-request-id"))
        status = 500

        async def send_with_request_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id))
                if self._service.state.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self._pages(scope, receive, send_with_request_id)
        except Exception:  # the 500 response has been sent
            logger.exception("fault", extra={LOG_FIELDS: {"request_id": request_id.decode()}})
        finally:
            metrics.in_flight -= 1
            seconds = time.perf_counter() - started
            path = scope["path"]
            metrics.record(path, status, seconds)
            self._service.requests.record(request_id, scope["method"], path[:200], status, seconds)


def metadata(bundle: Bundle, version: int | None, limits: RequestLimits) -> dict[str, Any]:
    """Return the content of ``/metadata``: what a client needs, nothing about the machine."""
    schema = bundle.schema.to_json()
    return {
        "name": bundle.project,
        "model_version": version,
        "digest": bundle.digest,
        "identity": bundle.identity,
        "profile": bundle.profile,
        "task": bundle.task.name,
        **bundle.task.metadata(),
        "cutoffs": bundle.cutoffs,
        "contract": bundle.schema.contract,
        "accepts": list(bundle.schema.accepts),
        "needs_contract": bundle.schema.needs_contract,
        "features": schema["features"],
        "unseen": schema["unseen"],
        "max_body": limits.max_body,
        "max_rows": limits.max_rows,
    }


def make_app(
    bundle: Bundle,
    version: int | None,
    limits: RequestLimits,
    state: ServerProcessState,
    token: str | None = None,
    *,
    log: PredictionLog | None = None,
    log_requests: float = 0.0,
    log_errors: bool = True,
    raw: RawRowLimits | None = None,
    raw_context: RawRowsContext | None = None,
) -> Application:
    """Return the ASGI application that serves a verified bundle.

    Args:
        bundle: opened and verified; its golden predictions have been checked.
        version: the registered version; None for a bundle that is not registered.
        limits: on the size and number of requests.
        state: shared with the server, which sets ``draining``.
        token: the bearer token that all paths but health, version and /docs require, if any.
        log: the prediction log, if any.
        log_requests: share of the successful requests that are logged, 0 to 1.
        log_errors: whether the error messages of refused requests are logged.
        raw: limits of raw rows; None: raw rows are not accepted.
        raw_context: the environment, for messages about raw rows.
    """
    task = bundle.task
    served = ServedModel(
        bundle.project, version, bundle.digest, task, bundle.schema, bundle.cutoffs.get("train_end")
    )
    metrics = Metrics(served, (*PATHS, RAW_PATH))
    inference = Inference(bundle, metrics.features, limits.max_queue, limits.max_seconds)
    metrics.queue = lambda: inference.waiting
    metrics.log = log
    metrics.mirrored = lambda: state.mirrored
    service = Service(
        limits=limits,
        state=state,
        token=None if token is None else token.encode(),
        inference=inference,
        metrics=metrics,
        requests=RequestLog(log_requests, log_errors=log_errors),
        log=log,
    )
    features, invocations = (
        PredictFormat(version, bundle.schema, task),
        InvocationsFormat(bundle.schema, task),
    )
    endpoints = {
        "/predict": PredictionEndpoint("/predict", features, service),
        "/invocations": PredictionEndpoint("/invocations", invocations, service),
    }
    if raw is not None:
        state.features = FeatureWorker(bundle.path, raw, raw_context)
        endpoints["/invocations"] = InvocationsEndpoint(invocations, service, state.features)
        endpoints[RAW_PATH] = RawRowsEndpoint(features, service, state.features, version, task)
    return Application(endpoints, _pages(bundle, version, service, endpoints), service)


def _pages(
    bundle: Bundle,
    version: int | None,
    service: Service,
    endpoints: Mapping[str, PredictionEndpoint],
) -> Starlette:
    metadata_json = msgspec.json.encode(metadata(bundle, version, service.limits))
    document = openapi.document(
        bundle.schema,
        task=bundle.task,
        max_rows=service.limits.max_rows,
        version=__version__,
        secured=service.token is not None,
        max_raw_rows=None if service.state.features is None else service.state.features.max_rows,
    )
    document_json = msgspec.json.encode(document)
    page, policy = openapi.page(document)
    examples = Examples(bundle.schema)

    def static(content: bytes | str, content_type: str = JSON_TYPE, **headers: str) -> Any:
        async def respond(_: Request) -> Response:
            return Response(content, headers=headers, media_type=content_type)

        return respond

    def secured(endpoint: Any) -> Any:
        async def respond(request: Request) -> Response:
            try:
                authorise(request.scope["headers"], service.token)
            except RequestError as refusal:
                headers = {"www-authenticate": "Bearer"}
                return Response(error(str(refusal)), refusal.status, headers, JSON_TYPE)
            return await endpoint(request)  # type: ignore[no-any-return]

        return respond

    async def ready(_: Request) -> Response:
        if service.state.draining:
            return Response(b'{"status":"draining"}', 503, media_type=JSON_TYPE)
        return Response(b'{"status":"ready"}', media_type=JSON_TYPE)

    async def metrics_page(request: Request) -> Response:
        content, content_type = service.metrics.page(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": content_type})

    async def http_error(request: Request, fault: Exception) -> Response:
        status = fault.status_code if isinstance(fault, HTTPException) else 500
        headers = (fault.headers or {}) if isinstance(fault, HTTPException) else {}
        text = {404: "no such path"}.get(status, "refused")
        if status == 405:
            text = examples.other_method(request.url.path, headers.get("Allow", "another"))
        return Response(error(text), status, headers=dict(headers), media_type=JSON_TYPE)

    async def internal_error(_: Request, __: Exception) -> Response:
        return Response(error(INTERNAL_ERROR), 500, media_type=JSON_TYPE)

    routes = [
        *(Route(path, app, methods=["POST"]) for path, app in endpoints.items()),
        Route("/health/live", static(b'{"status":"live"}')),
        *(Route(path, ready) for path in ("/health/ready", "/ping", "/health")),
        Route("/metadata", secured(static(metadata_json))),
        Route("/version", static(__version__, "text/plain")),
        Route("/metrics", secured(metrics_page)),
        Route("/openapi.json", secured(static(document_json))),
        Route("/docs", static(page, "text/html", **{"content-security-policy": policy})),
    ]
    handlers: dict[Any, Any] = {HTTPException: http_error, Exception: internal_error}
    pages = Starlette(routes=routes, exception_handlers=handlers)
    pages.router.redirect_slashes = False
    return pages
