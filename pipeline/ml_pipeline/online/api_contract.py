"""Tests of a deployed API over HTTP, independent of its target.

The form of a request is read from ``/metadata``; the expected responses are the contract in
docs/reference/serving.md.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml_pipeline.bundle.reader import Bundle, check_golden
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.core.onnx_session import TOLERANCE
from ml_pipeline.core.report import Check, Verdict, blocking
from ml_pipeline.targets import server_arguments
from ml_pipeline.targets.base import Deployment, Placement
from ml_pipeline.tasks.base import difference
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.tasks.loader import load_task, read_task
from ml_pipeline.traffic import probe
from ml_pipeline.traffic.probe import (
    UnexpectedResponse,
    golden_answers,
    json_of,
    number_of,
    object_of,
    shortened,
)

if TYPE_CHECKING:
    import httpx

    from ml_pipeline.tasks.base import Task, Value

LATENCY_REQUESTS = 200
SLOW_SECONDS = 0.1
"""Median latency of sequential one-row requests; the advisory check fails above it."""
MAX_TESTED_BODY = 64 << 20
RAW_SECONDS = 90.0
"""Includes the import of the feature worker's packages by the first raw row."""
RAW_ROWS = "raw rows"


@dataclass(frozen=True)
class ExpectedDeployment:
    """What the address should serve; None if unknown."""

    version: int | None = None
    digest: str | None = None
    bundle: Bundle | None = None
    raw_rows: bool = False
    """Whether the server should compute features of raw rows."""
    raw_rows_required: bool = False
    """Whether a server that does not breaks the contract."""

    def requires(self, clause: str) -> bool:
        return clause != "latency" and (clause != RAW_ROWS or self.raw_rows_required)


@dataclass(frozen=True)
class ContractResult:
    """The checks, in the order they were made, and the latency in milliseconds."""

    checks: tuple[Check, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def check_contract(
    url: str, expected: ExpectedDeployment, token: str | None = None
) -> ContractResult:
    """Test the API at ``url`` and return a check for each clause of its contract.

    Raises:
        EnvironmentFault: no server responds.
    """
    import httpx

    with probe.client(url, token) as api:
        try:
            api.get("/health/live")
        except httpx.TransportError as error:
            raise EnvironmentFault(f"no server responds at {url}: {error}") from None
        clauses = _Clauses(api, expected)
        checks = [
            _check(name, rule, clause, required=expected.requires(name))
            for name, rule, clause in clauses.all()
        ]
        metrics = dict(clauses.metrics)
    return ContractResult(tuple(checks), metrics, clauses.metadata)


Clause = Callable[[], object]


def _check(name: str, rule: str, clause: Clause, *, required: bool) -> Check:
    import httpx

    try:
        observed = clause()
    except (UnexpectedResponse, Refused) as broken:
        return Check(
            name=name,
            verdict=Verdict.FAIL,
            required=required,
            observed=str(broken),
            expected=rule,
            why=f"{name}: {broken}",
        )
    except httpx.HTTPError as error:
        return Check(
            name=name,
            verdict=Verdict.ERROR,
            required=required,
            observed=f"{type(error).__name__}: {error}",
            expected=rule,
            why=f"{name}: the connection failed",
        )
    return Check(
        name=name, verdict=Verdict.PASS, required=required, observed=observed, expected=rule
    )


class _Clauses:
    """The clauses over one connection. Those after ``metadata`` use its response."""

    def __init__(self, api: httpx.Client, expected: ExpectedDeployment) -> None:
        self._api = api
        self._expected = expected
        self.metadata: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}

    def all(self) -> Iterator[tuple[str, str, Clause]]:
        yield "live", "GET /health/live is 200", lambda: self._status(self._api.get("/health/live"))
        yield "ready", "GET /health/ready is 200", self._ready
        yield "metadata", "name, version, digest and features of the model", self._read_metadata
        yield "deployed version", self._expected_version(), self._served_version
        yield "one row", self._rule(), self._one_row
        yield "missing values", "null is accepted for every feature", self._missing_values
        yield "list of rows", "the same predictions, in order, as one by one", self._row_list
        yield (
            "by name",
            "one row and a list of rows, same predictions as by position",
            self._by_name,
        )
        yield "unknown name", "422, naming it", self._unknown_name
        yield "missing name", "422, naming the feature", self._missing_name
        yield (
            "request contract",
            "its digest is accepted, another one is 409 with both",
            self._request_contract,
        )
        yield (
            "too few values",
            "422",
            lambda: self._invalid_row(self._row()[: self._min_row_length() - 1]),
        )
        yield "too many values", "422", lambda: self._invalid_row([*self._row(), 0.0])
        yield "wrong type", "422, naming the feature", self._wrong_type
        yield "NaN", "422, naming the feature", self._nan
        yield (
            "no features",
            "422",
            lambda: self._error_message(self._api.post("/predict", json={}), 422),
        )
        yield "not JSON", "400", lambda: self._error_message(self._post(b"{"), 400)
        yield "oversized body", "413", self._oversized
        yield "too many rows", "413", self._too_many_rows
        yield (
            "unknown path",
            "404",
            lambda: self._error_message(self._api.get("/no-such-path"), 404),
        )
        yield "wrong method", "405", lambda: self._error_message(self._api.get("/predict"), 405)
        if self._expected.bundle is not None:
            tolerance = self._expected.bundle.task.tolerance
            rule = f"at most {tolerance:g} from the trained model"
            yield "golden predictions", rule, self._golden_rows
        if self._expected.raw_rows:
            yield RAW_ROWS, "the model's own code computes features of raw rows", self._raw_rows
        yield "latency", f"median under {SLOW_SECONDS * 1000:g} ms", self._latency

    # --- model and version -----------------------------------------------------------------------

    def _expected_version(self) -> str:
        version, digest = self._expected.version, self._expected.digest
        if digest is None:
            return "the same version in /metadata and /predict"
        return f"version {version}, bundle {digest[:12]}"

    def _ready(self) -> str:
        return self._status(self._api.get("/health/ready"))

    def _read_metadata(self) -> str:
        metadata = object_of(self._api.get("/metadata"))
        features = metadata.get("features")
        if not isinstance(features, list) or not features:
            raise UnexpectedResponse("/metadata lists no features")
        if not all(map(_is_feature, features)):
            raise UnexpectedResponse(
                "/metadata has a feature without name, kind, range or categories"
            )
        keys = ("name", "digest", "contract")
        for key, kind in (*((key, str) for key in keys), ("max_body", int), ("max_rows", int)):
            if type(metadata.get(key)) is not kind or not metadata[key]:
                raise UnexpectedResponse(f"/metadata has no '{key}'")
        if type(metadata.get("model_version", "")) not in (int, type(None)):
            raise UnexpectedResponse("/metadata has no 'model_version'")
        self.metadata = metadata
        return f"{metadata['name']}, {len(features)} features"

    def _served_version(self) -> str:
        metadata = self._known_metadata()
        served = self._prediction(self._api.post("/predict", json={"features": self._row()}))
        if served["model_version"] != metadata["model_version"]:
            raise UnexpectedResponse(
                f"/predict has version {served['model_version']}, "
                f"/metadata {metadata['model_version']}"
            )
        digest = self._expected.digest
        if digest is not None and (metadata["model_version"], metadata["digest"]) != (
            self._expected.version,
            digest,
        ):
            raise UnexpectedResponse(
                f"version {metadata['model_version']}, bundle {metadata['digest'][:12]}"
            )
        return f"version {metadata['model_version']}, bundle {metadata['digest'][:12]}"

    # --- predictions ----------------------------------------------------------------------

    def _rule(self) -> str:
        if self._expected.bundle is None or self._expected.bundle.task.name == BINARY.name:
            return "probability in 0..1 and the model's version"
        return f"{self._expected.bundle.task.prediction_noun} and the model's version"

    def _task(self) -> Task:
        """Return the task of the expected bundle, or else the one in ``/metadata``.

        Raises:
            UnexpectedResponse: the task is not installed, or its classes are missing.
        """
        bundle = self._expected.bundle
        if bundle is not None:
            return bundle.task
        named = str(self.metadata.get("task", BINARY.name))
        try:
            if "classes" in self.metadata:
                return read_task({"name": named, "classes": self.metadata["classes"]})
            return load_task(named)
        except (UsageError, Refused) as error:
            raise UnexpectedResponse(f"/metadata has the task {named!r}: {error}") from None

    def _one_row(self) -> object:
        answer = self._prediction(self._api.post("/predict", json={"features": self._row()}))
        return self._task().read(answer)

    def _missing_values(self) -> object:
        row = [None] * len(self._row())
        answer = self._prediction(self._api.post("/predict", json={"features": row}))
        return self._task().read(answer)

    def _row_list(self) -> str:
        rows = [self._row(), [None] * len(self._row()), self._row()]
        response = self._api.post("/predict", json={"features": rows})
        answers = json_of(response)
        if not isinstance(answers, list) or len(answers) != len(rows):
            raise UnexpectedResponse(f"{len(rows)} rows gave {shortened(response.text)}")
        for row, answer in zip(rows, answers, strict=True):
            alone = self._prediction(self._api.post("/predict", json={"features": row}))
            if not self._agree(answer, alone):
                raise UnexpectedResponse(f"a row of the list gave {answer}, alone {alone}")
        return f"{len(rows)} rows"

    def _by_name(self) -> str:
        named = self._named()
        expected = self._prediction(self._api.post("/predict", json={"features": self._row()}))
        alone = self._prediction(self._api.post("/predict", json={"features": named}))
        reverse = dict(reversed([*named.items()]))
        listed = json_of(self._api.post("/predict", json={"rows": [named, reverse]}))
        if not isinstance(listed, list) or len(listed) != 2:
            raise UnexpectedResponse(f"two rows gave {shortened(str(listed))}")
        for answer in (alone, *listed):
            if not self._agree(answer, expected):
                raise UnexpectedResponse(f"by name gave {answer}, by position {expected}")
        return f"{len(named)} names, in any order"

    def _golden_rows(self) -> float:
        bundle = self._expected.bundle
        if bundle is None:
            raise UnexpectedResponse("no bundle to compare with")
        predictions = golden_answers(self._api, bundle)
        return check_golden(predictions, bundle.golden.predictions, bundle.task.tolerance)

    def _latency(self) -> str:
        row = {"features": self._row()}
        seconds = []
        for _ in range(LATENCY_REQUESTS):
            start = time.perf_counter()
            self._prediction(self._api.post("/predict", json=row))
            seconds.append(time.perf_counter() - start)
        median = statistics.median(seconds)
        self.metrics = {
            "latency_median_ms": median * 1000,
            "latency_p99_ms": statistics.quantiles(seconds, n=100)[98] * 1000,
        }
        if median > SLOW_SECONDS:
            raise UnexpectedResponse(f"median {median * 1000:.1f} ms")
        return f"median {median * 1000:.1f} ms"

    # --- invalid requests ---------------------------------------------------------------

    def _unknown_name(self) -> str:
        strange = max(self._named(), key=len) + "_unknown"
        return self._error_naming(strange[:30], self._named() | {strange: 0.5})

    def _missing_name(self) -> str:
        required = [one for one in self._known_metadata()["features"] if not one.get("optional")]
        if not required:
            return "every feature is optional"
        name = required[-1]["name"]
        return self._error_naming(name[:30], {k: v for k, v in self._named().items() if k != name})

    def _error_naming(self, name: str, row: Mapping[str, Any]) -> str:
        message = self._error_message(self._api.post("/predict", json={"rows": [row]}), 422)
        if name not in message:
            raise UnexpectedResponse(f"the message does not name '{name}': {message}")
        return message

    def _request_contract(self) -> str:
        own, other = self._known_metadata()["contract"], "0" * 64
        row = {"features": self._row()}
        self._prediction(self._api.post("/predict", json=row | {"contract": own}))
        message = self._error_message(
            self._api.post("/predict", json=row | {"contract": other}), 409
        )
        if own not in message or other not in message:
            raise UnexpectedResponse(f"the message does not name both digests: {message}")
        return f"{own[:12]}"

    def _wrong_type(self) -> str:
        for index, feature in enumerate(self._known_metadata()["features"]):
            wrong: object = 0.5 if feature["kind"] == "categorical" else "text"
            self._invalid_feature(index, wrong)
        return "422 for each feature"

    def _nan(self) -> str:
        kinds = [feature["kind"] for feature in self._known_metadata()["features"]]
        index = kinds.index("numeric") if "numeric" in kinds else 0
        return self._invalid_feature(index, math.nan)

    def _invalid_feature(self, index: int, value: object) -> str:
        row = self._row()
        row[index] = value
        message = self._invalid_row(row)
        name = self._known_metadata()["features"][index]["name"]
        if name not in message:
            raise UnexpectedResponse(f"the message does not name '{name}': {message}")
        return message

    def _invalid_row(self, row: Sequence[object]) -> str:
        return self._error_message(self._post(json.dumps({"features": row}).encode()), 422)

    def _oversized(self) -> str:
        limit = self._known_metadata()["max_body"]
        if limit >= MAX_TESTED_BODY:
            raise UnexpectedResponse(f"max_body of {limit} bytes is not a usable limit")
        return self._error_message(self._post(b" " * (limit + 1)), 413)

    def _too_many_rows(self) -> str:
        metadata = self._known_metadata()
        row = json.dumps([None] * len(self._row()))
        enough = (
            min(metadata["max_rows"], metadata["max_body"] // len(row), MAX_TESTED_BODY // len(row))
            + 1
        )
        body = f'{{"features": [{", ".join([row] * enough)}]}}'
        return self._error_message(self._post(body.encode()), 413)

    def _raw_rows(self) -> str:
        """Send a row without columns; the feature code must be loaded to reject it."""
        response = self._api.post("/predict/raw", json={"rows": [{}]}, timeout=RAW_SECONDS)
        if response.status_code not in (200, 422):
            raise UnexpectedResponse(f"status {response.status_code}: {shortened(response.text)}")
        return f"status {response.status_code} to a row without columns"

    # --- helpers ------------------------------------------------------------------------------

    def _known_metadata(self) -> dict[str, Any]:
        if not self.metadata:
            raise UnexpectedResponse("unknown without /metadata")
        return self.metadata

    def _row(self) -> list[Any]:
        """Return a valid row: the middle of each range, the first category."""
        return [_valid_value(feature) for feature in self._known_metadata()["features"]]

    def _named(self) -> dict[str, Any]:
        names = (feature["name"] for feature in self._known_metadata()["features"])
        return dict(zip(names, self._row(), strict=True))

    def _min_row_length(self) -> int:
        """Return the minimum number of values of a row by position."""
        features = self._known_metadata()["features"]
        places = [at + 1 for at, one in enumerate(features) if not one.get("optional")]
        return max(places, default=1)

    def _post(self, content: bytes) -> httpx.Response:
        return self._api.post(
            "/predict", content=content, headers={"content-type": "application/json"}
        )

    def _status(self, response: httpx.Response, expected: int = 200) -> str:
        if response.status_code != expected:
            raise UnexpectedResponse(f"status {response.status_code}: {shortened(response.text)}")
        return str(response.status_code)

    def _error_message(self, response: httpx.Response, status: int) -> str:
        """Return the message of an error response, and require one line in ``error``."""
        self._status(response, status)
        message = object_of(response, status).get("error")
        if not isinstance(message, str) or not message or "Traceback" in message:
            raise UnexpectedResponse(f"status {status} without one line in 'error'")
        return shortened(f"{status}: {message}")

    def _prediction(self, response: httpx.Response) -> dict[str, Any]:
        answer = object_of(response)
        task = self._task()
        if set(answer) != {*task.answer_schema(), "model_version"}:
            raise UnexpectedResponse(f"keys {sorted(answer)}")
        try:
            task.read(answer)
        except ValueError as error:
            shown = ", ".join(f"{key} {answer[key]}" for key in task.answer_schema())
            raise UnexpectedResponse(shown if task.name == BINARY.name else str(error)) from None
        return answer

    def _agree(self, one: object, other: Mapping[str, Any]) -> bool:
        """Return whether two answers to one row hold the same prediction."""
        task = self._task()
        try:
            first, second = task.read(one if isinstance(one, dict) else {}), task.read(other)
        except ValueError:
            return False
        return difference(first, second) <= self._tolerance(second)

    def _tolerance(self, value: Value) -> float:
        """Return the task's tolerance; for an unknown model, scaled to the value."""
        if self._expected.bundle is not None or isinstance(value, tuple):
            return self._task().tolerance
        return TOLERANCE * max(1.0, abs(value))


def _is_feature(item: object) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return False
    if item.get("kind") == "categorical":
        categories = item.get("categories")
        return isinstance(categories, list) and all(isinstance(one, str) for one in categories)
    limits = (item.get("minimum"), item.get("maximum"))
    return item.get("kind") == "numeric" and all(
        limit is None or math.isfinite(number_of(limit)) for limit in limits
    )


def _valid_value(feature: Mapping[str, Any]) -> object:
    if feature["kind"] == "categorical":
        return next(iter(feature.get("categories") or [None]))
    low, high = feature.get("minimum"), feature.get("maximum")
    return None if low is None or high is None else (float(low) + float(high)) / 2


def expected_deployment(
    deployment: Deployment | None, url: str, placement: Placement
) -> ExpectedDeployment:
    """Return what the environment should serve; all unknown if the address is another one."""
    if deployment is None or deployment.url != url:
        return ExpectedDeployment()
    section = placement.section
    return ExpectedDeployment(
        version=deployment.version,
        digest=deployment.digest,
        bundle=Bundle.open(deployment.bundle),
        raw_rows=server_arguments.computes_features(section, placement.serving),
        raw_rows_required="raw_rows" in section.model_fields_set,
    )


def summarize(url: str, checks: Sequence[Check], contract: ContractResult) -> str:
    """Return a summary: the first failed check, or that the contract is met."""
    if failed := blocking(checks):
        first = f"{failed[0].name}: {failed[0].why}"
        return f"{len(failed)} of {len(checks)} checks fail, first {first} ({url})"
    median = contract.metrics.get("latency_median_ms")
    speed = "" if median is None else f", {median:.1f} ms a row"
    return f"{url} keeps its contract: {len(checks)} checks{speed}"
