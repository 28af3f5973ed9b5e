"""Tests of a deployed API by its address only, whatever serves it.

What a request must look like is read from ``/metadata``; what must be answered is the contract of
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
"""Median of one row, sequentially, over which the contract's advisory check warns."""
LARGEST_TRIED = 64 << 20
RAW_SECONDS = 90.0
"""The first raw row waits for the feature worker to import its packages."""
RAW_ROWS = "raw rows"


@dataclass(frozen=True)
class Expected:
    """What the address should serve; None where it is not known."""

    version: int | None = None
    digest: str | None = None
    bundle: Bundle | None = None
    raw_rows: bool = False
    """Whether it is to compute features of raw rows."""
    raw_rows_required: bool = False
    """Whether the contract is broken where it does not."""

    def requires(self, clause: str) -> bool:
        return clause != "latency" and (clause != RAW_ROWS or self.raw_rows_required)


@dataclass(frozen=True)
class Contract:
    """The checks, in the order they were made, and the latency in milliseconds."""

    checks: tuple[Check, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def contract(url: str, expected: Expected, token: str | None = None) -> Contract:
    """Test the API at ``url`` and return a check for each clause of its contract.

    Raises:
        EnvironmentFault: nothing answers there.
    """
    import httpx

    with probe.client(url, token) as api:
        try:
            api.get("/health/live")
        except httpx.TransportError as error:
            raise EnvironmentFault(f"nothing answers at {url}: {error}") from None
        clauses = _Clauses(api, expected)
        checks = [
            _check(name, rule, clause, required=expected.requires(name))
            for name, rule, clause in clauses.all()
        ]
        metrics = dict(clauses.metrics)
    return Contract(tuple(checks), metrics, clauses.metadata)


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
            why=f"{name}: the connection broke",
        )
    return Check(
        name=name, verdict=Verdict.PASS, required=required, observed=observed, expected=rule
    )


class _Clauses:
    """The clauses over one connection. Those after ``metadata`` use its answer."""

    def __init__(self, api: httpx.Client, expected: Expected) -> None:
        self._api = api
        self._expected = expected
        self.metadata: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}

    def all(self) -> Iterator[tuple[str, str, Clause]]:
        yield "live", "GET /health/live is 200", lambda: self._status(self._api.get("/health/live"))
        yield "ready", "GET /health/ready is 200", self._ready
        yield "metadata", "name, version, digest and features of the model", self._read_metadata
        yield "deployed version", self._wanted(), self._version
        yield "one row", self._rule(), self._one
        yield "missing values", "null is accepted for every feature", self._missing
        yield "list of rows", "the same answers, in order, as one by one", self._many
        yield "by name", "one row and a list of rows, answered as by position", self._by_name
        yield "unknown name", "422, naming it", self._unknown_name
        yield "missing name", "422, naming the feature", self._missing_name
        yield (
            "request contract",
            "its digest is accepted, another one is 409 with both",
            self._digest,
        )
        yield "too few values", "422", lambda: self._refused(self._row()[: self._required() - 1])
        yield "too many values", "422", lambda: self._refused([*self._row(), 0.0])
        yield "wrong type", "422, naming the feature", self._wrong_type
        yield "NaN", "422, naming the feature", self._nan
        yield "no features", "422", lambda: self._told(self._api.post("/predict", json={}), 422)
        yield "not JSON", "400", lambda: self._told(self._post(b"{"), 400)
        yield "oversized body", "413", self._oversized
        yield "too many rows", "413", self._too_many_rows
        yield "unknown path", "404", lambda: self._told(self._api.get("/no-such-path"), 404)
        yield "wrong method", "405", lambda: self._told(self._api.get("/predict"), 405)
        if self._expected.bundle is not None:
            tolerance = self._expected.bundle.task.tolerance
            rule = f"at most {tolerance:g} from the trained model"
            yield "golden predictions", rule, self._golden_rows
        if self._expected.raw_rows:
            yield RAW_ROWS, "the model's own code computes features of raw rows", self._raw_rows
        yield "latency", f"median under {SLOW_SECONDS * 1000:g} ms", self._latency

    # --- what it is -----------------------------------------------------------------------

    def _wanted(self) -> str:
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

    def _version(self) -> str:
        metadata = self._known_metadata()
        served = self._prediction(self._api.post("/predict", json={"features": self._row()}))
        if served["model_version"] != metadata["model_version"]:
            raise UnexpectedResponse(
                f"/predict says version {served['model_version']}, "
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
        """Return the task that is expected, or the one that ``/metadata`` names.

        Raises:
            UnexpectedResponse: its task is not installed, or its classes are not given.
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

    def _one(self) -> object:
        answer = self._prediction(self._api.post("/predict", json={"features": self._row()}))
        return self._task().read(answer)

    def _missing(self) -> object:
        row = [None] * len(self._row())
        answer = self._prediction(self._api.post("/predict", json={"features": row}))
        return self._task().read(answer)

    def _many(self) -> str:
        rows = [self._row(), [None] * len(self._row()), self._row()]
        response = self._api.post("/predict", json={"features": rows})
        together = json_of(response)
        if not isinstance(together, list) or len(together) != len(rows):
            raise UnexpectedResponse(f"{len(rows)} rows gave {shortened(response.text)}")
        for row, answer in zip(rows, together, strict=True):
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
        found = golden_answers(self._api, bundle)
        return check_golden(found, bundle.golden.predictions, bundle.task.tolerance)

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

    # --- what must be refused ---------------------------------------------------------------

    def _unknown_name(self) -> str:
        strange = max(self._named(), key=len) + "_unknown"
        return self._naming(strange[:30], self._named() | {strange: 0.5})

    def _missing_name(self) -> str:
        required = [one for one in self._known_metadata()["features"] if not one.get("optional")]
        if not required:
            return "every feature is optional"
        name = required[-1]["name"]
        return self._naming(name[:30], {k: v for k, v in self._named().items() if k != name})

    def _naming(self, name: str, row: Mapping[str, Any]) -> str:
        message = self._told(self._api.post("/predict", json={"rows": [row]}), 422)
        if name not in message:
            raise UnexpectedResponse(f"the message does not name '{name}': {message}")
        return message

    def _digest(self) -> str:
        own, other = self._known_metadata()["contract"], "0" * 64
        row = {"features": self._row()}
        self._prediction(self._api.post("/predict", json=row | {"contract": own}))
        message = self._told(self._api.post("/predict", json=row | {"contract": other}), 409)
        if own not in message or other not in message:
            raise UnexpectedResponse(f"the message does not name both digests: {message}")
        return f"{own[:12]}"

    def _wrong_type(self) -> str:
        for index, feature in enumerate(self._known_metadata()["features"]):
            wrong: object = 0.5 if feature["kind"] == "categorical" else "text"
            self._refused_at(index, wrong)
        return "422 for each feature"

    def _nan(self) -> str:
        kinds = [feature["kind"] for feature in self._known_metadata()["features"]]
        index = kinds.index("numeric") if "numeric" in kinds else 0
        return self._refused_at(index, math.nan)

    def _refused_at(self, index: int, value: object) -> str:
        row = self._row()
        row[index] = value
        message = self._refused(row)
        name = self._known_metadata()["features"][index]["name"]
        if name not in message:
            raise UnexpectedResponse(f"the message does not name '{name}': {message}")
        return message

    def _refused(self, row: Sequence[object]) -> str:
        return self._told(self._post(json.dumps({"features": row}).encode()), 422)

    def _oversized(self) -> str:
        limit = self._known_metadata()["max_body"]
        if limit >= LARGEST_TRIED:
            raise UnexpectedResponse(f"a limit of {limit} bytes is none")
        return self._told(self._post(b" " * (limit + 1)), 413)

    def _too_many_rows(self) -> str:
        metadata = self._known_metadata()
        row = json.dumps([None] * len(self._row()))
        enough = (
            min(metadata["max_rows"], metadata["max_body"] // len(row), LARGEST_TRIED // len(row))
            + 1
        )
        body = f'{{"features": [{", ".join([row] * enough)}]}}'
        return self._told(self._post(body.encode()), 413)

    def _raw_rows(self) -> str:
        """Send a row without columns, which the model's code has to be ready for to refuse."""
        response = self._api.post("/predict/raw", json={"rows": [{}]}, timeout=RAW_SECONDS)
        if response.status_code not in (200, 422):
            raise UnexpectedResponse(f"status {response.status_code}: {shortened(response.text)}")
        return f"status {response.status_code} to a row without columns"

    # --- helpers ------------------------------------------------------------------------------

    def _known_metadata(self) -> dict[str, Any]:
        if not self.metadata:
            raise UnexpectedResponse("not known without /metadata")
        return self.metadata

    def _row(self) -> list[Any]:
        """Return a valid row: the middle of each range, the first of the categories."""
        return [_valid(feature) for feature in self._known_metadata()["features"]]

    def _named(self) -> dict[str, Any]:
        names = (feature["name"] for feature in self._known_metadata()["features"])
        return dict(zip(names, self._row(), strict=True))

    def _required(self) -> int:
        """Return the fewest values of a row by position."""
        features = self._known_metadata()["features"]
        places = [at + 1 for at, one in enumerate(features) if not one.get("optional")]
        return max(places, default=1)

    def _post(self, content: bytes) -> httpx.Response:
        return self._api.post(
            "/predict", content=content, headers={"content-type": "application/json"}
        )

    def _status(self, response: httpx.Response, wanted: int = 200) -> str:
        if response.status_code != wanted:
            raise UnexpectedResponse(f"status {response.status_code}: {shortened(response.text)}")
        return str(response.status_code)

    def _told(self, response: httpx.Response, status: int) -> str:
        """Return the message of an error, which is one short line of JSON."""
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
        """Return the task's tolerance; of a model that is not known, in the value's own unit."""
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


def _valid(feature: Mapping[str, Any]) -> object:
    if feature["kind"] == "categorical":
        return next(iter(feature.get("categories") or [None]))
    low, high = feature.get("minimum"), feature.get("maximum")
    return None if low is None or high is None else (float(low) + float(high)) / 2


def expected_of(deployment: Deployment | None, url: str, placement: Placement) -> Expected:
    """Return what is expected at an address: nothing where it is not the environment's own."""
    if deployment is None or deployment.url != url:
        return Expected()
    section = placement.section
    return Expected(
        version=deployment.version,
        digest=deployment.digest,
        bundle=Bundle.open(deployment.bundle),
        raw_rows=server_arguments.computes_features(section, placement.serving),
        raw_rows_required="raw_rows" in section.model_fields_set,
    )


def summarize(url: str, every: Sequence[Check], contract: Contract) -> str:
    """Return a line: the first check that fails, or that the contract holds."""
    if failed := blocking(every):
        first = f"{failed[0].name}: {failed[0].why}"
        return f"{len(failed)} of {len(every)} checks fail, first {first} ({url})"
    median = contract.metrics.get("latency_median_ms")
    speed = "" if median is None else f", {median:.1f} ms a row"
    return f"{url} keeps its contract: {len(every)} checks{speed}"
