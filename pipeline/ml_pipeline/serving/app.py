"""The HTTP API of a bundle. Imports ONNX Runtime, numpy and the web stack, nothing else.

==================== ====================================================================
POST /predict        ``{"features": {"age": 41, ...}}`` gives ``{"probability": p,
                     "model_version": v}``, or what the model's task answers;
                     ``{"rows": [{...}, ...]}`` gives the list of such answers; also by position,
                     ``{"features": [...]}``
POST /invocations    the same in the forms of MLflow's scoring server
POST /predict/raw    rows before features: ``{"rows": [{"column": value}]}``
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
from ml_pipeline.serving.feature_messages import Features as ComputedFeatures
from ml_pipeline.serving.feature_worker_process import (
    UNAVAILABLE,
    FeatureProcess,
    RawLimits,
    RawPlace,
)
from ml_pipeline.serving.inference import Inference
from ml_pipeline.serving.invocations import Invocations
from ml_pipeline.serving.logs import FACTS, RequestLog
from ml_pipeline.serving.metrics import Metrics
from ml_pipeline.serving.predict_formats import Body, Features, Form, Rows, by_position, error
from ml_pipeline.serving.prediction_log import PROBE
from ml_pipeline.serving.requests import (
    RequestError,
    authorise,
    check_headers,
    check_size,
    read,
    request_id,
)
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from ml_pipeline.bundle.reader import Bundle
    from ml_pipeline.serving.mirror import Mirror
    from ml_pipeline.serving.prediction_log import PredictionLog
    from ml_pipeline.tasks.base import Task, Value

logger = logging.getLogger("ml_pipeline.serving")

JSON: Final = "application/json"
PROBE_ID: Final = PROBE.encode()
MIRRORED: Final = "/predict"
"""The path whose requests are copied to a challenger."""
RAW: Final = "/predict/raw"
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
    features: FeatureProcess | None = None
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


Fields = list[tuple[bytes, bytes]]
"""Header fields, names in small letters."""


class Answer(NamedTuple):
    """What is sent."""

    status: int
    fields: Fields
    body: bytes
    error: str | None = None
    """Why the request is refused."""


Deliver = Callable[[Answer], None]


class _NeedsFeaturesError(Exception):
    """The rows are not the model's; they may be raw ones. ``error`` says why they are not."""

    def __init__(self, error: FeatureError) -> None:
        super().__init__(str(error))
        self.error = error


class _Request:
    """A request for predictions, as far as it is understood and answered yet."""

    __slots__ = (
        "body",
        "computed",
        "fields",
        "headers",
        "many",
        "number",
        "predictions",
        "raw",
        "rows",
        "started",
    )

    def __init__(self, fields: Fields, body: Body = b"") -> None:
        self.started = time.perf_counter()
        self.fields = fields
        self.headers = dict(fields)
        self.number = request_id(self.headers.get(b"x-request-id"))
        self.body = body
        self.rows: Rows = []
        self.many = False
        self.raw = False
        """Whether its rows are raw ones, sent to a path that takes features as well."""
        self.computed: ComputedFeatures | None = None
        self.predictions: list[Value] = []


class Scoring:
    """``POST`` of rows on one path, the way that has to be fast.

    It is an ASGI application. A protocol that has a whole request may ask ``fast_path`` instead,
    which is the same without what lies between.
    """

    def __init__(self, path: str, form: Form, service: Service) -> None:
        self._path = path
        self._form = form
        self._service = service

    def fast_path(self, fields: Fields, body: Body, send: Deliver) -> bool:
        """Answer a whole request by ``send``, now or in the next turn of the loop.

        False, and nothing has happened, where it has to wait for the model's thread, or where the
        process ends, of which the answer would have to tell.
        """
        if self._service.state.draining:
            return False
        inference, request = self._service.inference, _Request(fields, body)
        found: list[Value] | Exception
        try:
            self._admit(request)
            self._parse(request)
            rows = request.rows
            if not inference.fits_event_loop(len(rows)):
                return False
            if len(rows) == 1:
                inference.batch_single_rows(rows[0], partial(self._send, request, send))
                return True
            found = inference.now(rows)
        except _NeedsFeaturesError:
            return False
        except Exception as error:  # noqa: BLE001  # told, and logged if it is the server's
            found = error
        self._send(request, send, found)
        return True

    def flush(self) -> None:
        """Answer now what would be answered in the next turn of the loop."""
        self._service.inference.flush()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        request = _Request(scope["headers"])
        service.metrics.in_flight += 1
        try:
            found: list[Value] | Exception
            try:
                self._admit(request)
                request.body = await read(scope, receive, service.limits.max_body)
                await self._understand(request)
                if service.inference.fits_event_loop(len(request.rows)):
                    found = service.inference.now(request.rows)
                else:
                    found = await service.inference.in_thread(request.rows)
            except Exception as error:  # noqa: BLE001  # told, and logged if it is the server's
                found = error
            answer = self._answer(request, found)
            status, fields, body, _ = answer
            if service.state.draining:
                fields.append((b"connection", b"close"))
            await send({"type": "http.response.start", "status": status, "headers": fields})
            await send({"type": "http.response.body", "body": body})
        finally:
            service.metrics.in_flight -= 1
        self._answered(request, answer)

    def _admit(self, request: _Request) -> None:
        """Refuse what its headers forbid, before its body is read."""
        authorise(request.fields, self._service.token)
        check_headers(request.headers, self._service.limits.max_body)

    async def _understand(self, request: _Request) -> None:
        self._parse(request)

    def _parse(self, request: _Request) -> None:
        limits = self._service.limits
        check_size(request.body, limits.max_body)
        request.rows, request.many = self._form.parse(request.body, request.headers)
        number = len(request.rows)
        if number > limits.max_rows:
            raise RequestError(413, f"{number} rows; at most {limits.max_rows} in one request")

    def _send(self, request: _Request, send: Deliver, found: list[Value] | Exception) -> None:
        answer = self._answer(request, found)
        send(answer)
        self._answered(request, answer)

    def _answer(self, request: _Request, found: list[Value] | Exception) -> Answer:
        if isinstance(found, Exception):
            return self._refusal(request, found)
        request.predictions = found
        body = self._form.answer(found, request.many)
        return Answer(200, _fields(body, request.number), body)

    def _refusal(self, request: _Request, error: Exception) -> Answer:
        """Return the answer to a request that ``error`` ended."""
        more: Fields = []
        if isinstance(error, RequestError):
            status, told = error.status, str(error)
            if status == 401:
                more.append((b"www-authenticate", b"Bearer"))
            if error.retry_after is not None:
                more.append((b"retry-after", b"%d" % error.retry_after))
        elif isinstance(error, FeatureError):
            status, told = self._form.schema_error, str(error)
        else:
            facts = {"request_id": request.number.decode()}
            logger.error("fault", exc_info=error, extra={FACTS: facts})
            status, told = 500, FAULT
        body = self._form.error(status, told)
        return Answer(status, _fields(body, request.number) + more, body, told)

    def _answered(self, request: _Request, answer: Answer) -> None:
        """Count the request, log it and copy it to a challenger."""
        service, number = self._service, request.number
        status, _, body, error = answer
        seconds = time.perf_counter() - request.started
        is_probe = number == PROBE_ID
        if is_probe:
            service.metrics.probes += 1
        else:
            # Raw rows are counted apart: their cost depends on the client, not on the model.
            service.metrics.answered(RAW if request.raw else self._path, status, seconds)
        service.requests.answered(number, "POST", self._path, status, seconds, error)
        if error is not None:
            return
        if not is_probe:
            service.metrics.predicted(request.predictions)
        if service.log is not None:
            service.log.add(number.decode(), request.rows, request.predictions)
        mirror = service.state.mirror
        if mirror is not None and self._path == MIRRORED and not is_probe:
            asked = by_position(request.rows, request.many)
            mirror.offer(asked, body, seconds, number.decode())


class RawScoring(Scoring):
    """``POST`` of rows before features, which a process of its own computes."""

    def __init__(
        self,
        form: Form,
        service: Service,
        features: FeatureProcess,
        version: int | None,
        task: Task = BINARY,
    ) -> None:
        super().__init__(RAW, form, service)
        self._features = features
        self._version = version
        self._task_answer = task.answer

    async def _understand(self, request: _Request) -> None:
        check_size(request.body, self._service.limits.max_body)
        request.computed = await self._features.compute(request.body)
        request.rows = request.computed.rows

    def _answer(self, request: _Request, found: list[Value] | Exception) -> Answer:
        if isinstance(found, Exception):
            return self._refusal(request, found)
        assert request.computed is not None
        request.predictions = found
        predicted = zip(request.computed.places, found, strict=True)
        body = msgspec.json.encode(
            {
                "predictions": [{"row": row, **self._task_answer(each)} for row, each in predicted],
                "model_version": self._version,
                "set_aside": [
                    {"row": row, "tests": tests} for row, tests in request.computed.set_aside
                ],
            }
        )
        return Answer(200, _fields(body, request.number), body)


class InvocationScoring(Scoring):
    """``POST /invocations`` where rows may be raw: those that lack a feature of the model."""

    def __init__(self, form: Invocations, service: Service, features: FeatureProcess) -> None:
        super().__init__("/invocations", form, service)
        self._invocations = form
        self._features = features

    async def _understand(self, request: _Request) -> None:
        try:
            self._parse(request)
        except _NeedsFeaturesError as needs:
            frame = self._invocations.raw_rows(request.body, request.headers)
            if frame is None:
                raise needs.error from None
            request.raw = True
            try:
                computed = await self._features.compute(frame)
            except RequestError as refused:
                is_schema_error = refused.status in (422, UNAVAILABLE)
                status = self._form.schema_error if is_schema_error else refused.status
                told = f"{needs.error}; as raw rows: {refused}"
                raise RequestError(status, told, refused.retry_after) from None
            request.rows, request.many = computed.rows, True

    def _parse(self, request: _Request) -> None:
        try:
            super()._parse(request)
        except FeatureError as error:
            raise _NeedsFeaturesError(error) from None


def _fields(body: bytes, number: bytes) -> Fields:
    return [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", number),
    ]


class Application:
    """The whole API as one ASGI application; predictions do not pass through a router."""

    def __init__(self, scoring: Mapping[str, Scoring], pages: Starlette, service: Service) -> None:
        self._scoring = scoring
        self._pages = pages
        self._service = service
        self.fast_path = {
            path.encode(): each
            for path, each in scoring.items()
            if not isinstance(each, RawScoring)
        }
        """Who may be asked without ASGI, by the target of ``POST``. See ``BoundedProtocol``."""

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
    limits: Limits,
    state: State,
    token: str | None = None,
    *,
    log: PredictionLog | None = None,
    log_requests: float = 0.0,
    raw: RawLimits | None = None,
    raw_place: RawPlace | None = None,
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
        raw: the largest request of raw rows; None takes no raw rows.
        raw_place: where the server runs, for messages about raw rows.
    """
    task = bundle.task
    metrics = Metrics(bundle.project, version, bundle.digest, (*PATHS, RAW), task)
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
    features, invocations = (
        Features(version, bundle.schema, task),
        Invocations(bundle.schema, task),
    )
    scoring = {
        "/predict": Scoring("/predict", features, service),
        "/invocations": Scoring("/invocations", invocations, service),
    }
    if raw is not None:
        state.features = FeatureProcess(bundle.path, raw, raw_place)
        scoring["/invocations"] = InvocationScoring(invocations, service, state.features)
        scoring[RAW] = RawScoring(features, service, state.features, version, task)
    return Application(scoring, _pages(bundle, version, service, scoring), service)


def _pages(
    bundle: Bundle, version: int | None, service: Service, scoring: Mapping[str, Scoring]
) -> Starlette:
    described = msgspec.json.encode(metadata(bundle, version, service.limits))
    document = openapi.document(
        bundle.schema,
        task=bundle.task,
        max_rows=service.limits.max_rows,
        version=__version__,
        secured=service.token is not None,
        max_raw_rows=None if service.state.features is None else service.state.features.max_rows,
    )
    listed = msgspec.json.encode(document)
    page, policy = openapi.page(document)
    examples = Examples(bundle.schema)

    def told(content: bytes | str, kind: str = JSON, **headers: str) -> Any:
        async def answer(_: Request) -> Response:
            return Response(content, headers=headers, media_type=kind)

        return answer

    def secured(endpoint: Any) -> Any:
        async def answer(request: Request) -> Response:
            try:
                authorise(request.scope["headers"], service.token)
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

    async def http_error(request: Request, fault: Exception) -> Response:
        status = fault.status_code if isinstance(fault, HTTPException) else 500
        headers = (fault.headers or {}) if isinstance(fault, HTTPException) else {}
        text = {404: "no such path"}.get(status, "refused")
        if status == 405:
            text = examples.other_method(request.url.path, headers.get("Allow", "another"))
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
