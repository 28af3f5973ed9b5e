"""Checks whether a deployed API is ready and predicts as its bundle does."""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from ml_pipeline.bundle.reader import Bundle, check_golden
from ml_pipeline.core.errors import Refused
from ml_pipeline.serving.prediction_log import PROBE

if TYPE_CHECKING:
    import httpx

    from ml_pipeline.tasks.base import Task, Value

TIMEOUT = 10.0
PROBE_TIMEOUT = 5.0
"""Shorter, since new connections wait while a switch is probed."""


class UnexpectedResponse(Exception):
    """A response that breaks the API contract."""


def client(
    url: str,
    token: str | None = None,
    timeout: float = TIMEOUT,
    headers: Mapping[str, str] | None = None,
) -> httpx.Client:
    """Return an HTTP client for the API at ``url``; proxies of the environment are ignored."""
    import httpx

    own_headers = {"x-request-id": PROBE} | ({"authorization": f"Bearer {token}"} if token else {})
    own_headers |= headers or {}
    base = httpx.URL(url)
    context = _public_authorities() if base.scheme == "https" else _no_tls_context()
    return httpx.Client(
        base_url=base, headers=own_headers, timeout=timeout, trust_env=False, verify=context
    )


@cache
def _public_authorities() -> ssl.SSLContext:
    """Return a context with the public authorities; cached, since reading them takes 25 ms."""
    import httpx

    return httpx.create_ssl_context(trust_env=False)


@cache
def _no_tls_context() -> ssl.SSLContext:
    """Return a context for addresses without TLS: no certificate is trusted."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def probe(
    url: str,
    bundle: Bundle,
    version: int | None,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> float:
    """Check that ``url`` is ready and serves this bundle; return the largest golden difference.

    ``headers`` are sent with every request.

    Raises:
        Refused: it is not ready, serves another bundle or version, or fails a golden prediction.
    """
    import httpx

    try:
        with client(url, token, PROBE_TIMEOUT, headers) as api:
            ready = api.get("/health/ready").status_code
            if ready != httpx.codes.OK:
                raise Refused(f"{url} is not ready: status {ready}", expected="200")
            metadata = object_of(api.get("/metadata"))
            served = metadata.get("model_version"), metadata.get("digest")
            if served != (version, bundle.digest):
                raise Refused(
                    f"{url} serves version {served[0]}, bundle {served[1]}",
                    expected=f"version {version}, bundle {bundle.digest}",
                )
            return check_golden(
                golden_answers(api, bundle), bundle.golden.predictions, bundle.task.tolerance
            )
    except (httpx.HTTPError, UnexpectedResponse) as error:
        raise Refused(f"{url} does not answer as a server of the model: {error}") from None


def golden_answers(api: httpx.Client, bundle: Bundle) -> list[Value]:
    """Return the API's predictions of the golden rows, sent as lists; the first also alone."""
    rows = bundle.golden.inputs
    limit = object_of(api.get("/metadata")).get("max_rows")
    size = limit if type(limit) is int and limit > 0 else 1
    predictions: list[Value] = []
    for start in range(0, len(rows), size):
        responses = json_of(api.post("/predict", json={"features": rows[start : start + size]}))
        if not isinstance(responses, list):
            raise UnexpectedResponse(f"a list of rows gave {shortened(str(responses))}")
        predictions += [prediction_of(response, bundle.task) for response in responses]
    single = object_of(api.post("/predict", json={"features": rows[0]}))
    check_golden([prediction_of(single, bundle.task)], predictions[:1], bundle.task.tolerance)
    return predictions


def prediction_of(response: object, task: Task) -> Value:
    """Return the prediction in the response to a row.

    Raises:
        UnexpectedResponse: it contains no prediction of the task.
    """
    try:
        return task.read(response if isinstance(response, dict) else {})
    except ValueError as error:
        raise UnexpectedResponse(f"{shortened(str(response))}: {error}") from None


def json_of(response: httpx.Response, status: int = 200) -> Any:
    if response.status_code != status:
        raise UnexpectedResponse(f"status {response.status_code}: {shortened(response.text)}")
    if not response.headers.get("content-type", "").startswith("application/json"):
        raise UnexpectedResponse("the answer is not application/json")
    try:
        return response.json()
    except (ValueError, RecursionError):
        raise UnexpectedResponse(f"the answer is not JSON: {shortened(response.text)}") from None


def object_of(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    content = json_of(response, status)
    if not isinstance(content, dict):
        raise UnexpectedResponse(f"the answer is not an object: {shortened(response.text)}")
    return content


def number_of(value: object) -> float:
    try:
        return float(value) if type(value) in (float, int) else math.nan  # type: ignore[arg-type]
    except OverflowError:
        return math.nan


def shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."
