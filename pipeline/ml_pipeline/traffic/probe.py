"""Asks a deployed API whether it is ready and answers as its bundle does."""

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
"""A switch waits for its probe, and connections wait with it."""


class UnexpectedAnswer(Exception):
    """What was seen instead of what the contract says."""


def client(
    url: str,
    token: str | None = None,
    timeout: float = TIMEOUT,
    headers: Mapping[str, str] | None = None,
) -> httpx.Client:
    """Return an HTTP client for the API at ``url``; no proxy of the machine stands between."""
    import httpx

    own = {"x-request-id": PROBE} | ({"authorization": f"Bearer {token}"} if token else {})
    own |= headers or {}
    base = httpx.URL(url)
    trusted = _public_authorities() if base.scheme == "https" else _no_tls_context()
    return httpx.Client(
        base_url=base, headers=own, timeout=timeout, trust_env=False, verify=trusted
    )


@cache
def _public_authorities() -> ssl.SSLContext:
    """Return the public authorities, whose certificates take 25 ms to read."""
    import httpx

    return httpx.create_ssl_context(trust_env=False)


@cache
def _no_tls_context() -> ssl.SSLContext:
    """Return what an address without TLS needs: no certificate is trusted."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def probe(
    url: str,
    bundle: Bundle,
    version: int | None,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> float:
    """Ask whether ``url`` is ready and serves this bundle; return the largest golden difference.

    ``headers`` go along with every request.

    Raises:
        Refused: it is not ready, serves another bundle or version, or fails a golden prediction.
    """
    import httpx

    try:
        with client(url, token, PROBE_TIMEOUT, headers) as api:
            ready = api.get("/health/ready").status_code
            if ready != httpx.codes.OK:
                raise Refused(f"{url} is not ready: status {ready}", expected="200")
            told = object_of(api.get("/metadata"))
            found = told.get("model_version"), told.get("digest")
            if found != (version, bundle.digest):
                raise Refused(
                    f"{url} serves version {found[0]}, bundle {found[1]}",
                    expected=f"version {version}, bundle {bundle.digest}",
                )
            return check_golden(
                golden_answers(api, bundle), bundle.golden.predictions, bundle.task.tolerance
            )
    except (httpx.HTTPError, UnexpectedAnswer) as error:
        raise Refused(f"{url} does not answer as a server of the model: {error}") from None


def golden_answers(api: httpx.Client, bundle: Bundle) -> list[Value]:
    """Return what the API answers to the golden rows: a list, and the first one alone."""
    rows = bundle.golden.inputs
    told = object_of(api.get("/metadata")).get("max_rows")
    size = told if type(told) is int and told > 0 else 1
    found: list[Value] = []
    for start in range(0, len(rows), size):
        answers = json_of(api.post("/predict", json={"features": rows[start : start + size]}))
        if not isinstance(answers, list):
            raise UnexpectedAnswer(f"a list of rows gave {shortened(str(answers))}")
        found += [prediction_of(answer, bundle.task) for answer in answers]
    alone = object_of(api.post("/predict", json={"features": rows[0]}))
    check_golden([prediction_of(alone, bundle.task)], found[:1], bundle.task.tolerance)
    return found


def prediction_of(answer: object, task: Task) -> Value:
    """Return the prediction in an answer to a row.

    Raises:
        UnexpectedAnswer: the answer holds no prediction of the task.
    """
    try:
        return task.read(answer if isinstance(answer, dict) else {})
    except ValueError as error:
        raise UnexpectedAnswer(f"{shortened(str(answer))}: {error}") from None


def json_of(response: httpx.Response, status: int = 200) -> Any:
    if response.status_code != status:
        raise UnexpectedAnswer(f"status {response.status_code}: {shortened(response.text)}")
    if not response.headers.get("content-type", "").startswith("application/json"):
        raise UnexpectedAnswer("the answer is not application/json")
    try:
        return response.json()
    except (ValueError, RecursionError):
        raise UnexpectedAnswer(f"the answer is not JSON: {shortened(response.text)}") from None


def object_of(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    found = json_of(response, status)
    if not isinstance(found, dict):
        raise UnexpectedAnswer(f"the answer is no object: {shortened(response.text)}")
    return found


def number_of(value: object) -> float:
    try:
        return float(value) if type(value) in (float, int) else math.nan  # type: ignore[arg-type]
    except OverflowError:
        return math.nan


def shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."
