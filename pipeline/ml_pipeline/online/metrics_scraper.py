"""Scrapes ``/metrics`` of the servers at an address: their counts since they started.

Several servers may be behind one address, and each connection may reach another one. They are
distinguished by their start time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.traffic import probe

if TYPE_CHECKING:
    import httpx

PATHS = ("/predict", "/invocations")
PREFIX = "ml_serving_"
TIMEOUT = 5.0
MAX_CONNECTIONS = 100
"""Maximum number of connections of one scrape."""
OK, SERVER_FAULT = 200, 500

Key = TypeVar("Key", int, float)
Buckets = Mapping[float, float]
"""Upper bounds of a histogram, ascending to infinity, with the number of values in each bucket."""


@dataclass(frozen=True)
class MetricsPage:
    """One server's metrics: bundle, start time and scoring requests."""

    digest: str
    started: float
    """Unix time."""
    statuses: Mapping[int, float]
    seconds: Buckets
    predictions: Buckets


@dataclass(frozen=True)
class MetricTotals:
    """The sum over the servers of one bundle, without requests of ``ml-pipeline``."""

    instances: int = 0
    statuses: Mapping[int, float] = field(default_factory=dict)
    """Number of requests by status code."""
    seconds: Buckets = field(default_factory=dict)
    predictions: Buckets = field(default_factory=dict)


@dataclass
class Servers:
    """The known servers of a bundle at an address."""

    url: str
    digest: str
    token: str | None = None
    others: frozenset[str] = frozenset()
    """Digests of other bundles in the last scrape."""
    _pages: dict[float, MetricsPage] = field(default_factory=dict)

    def scrape(self) -> bool:
        """Read pages until no further server is found; return whether one serves the bundle.

        A scrape with ``n`` servers ends after ``2 + 3 n`` connections in a row without a new one:
        if each server is equally likely, one of three is missed 1 time in 100, and is found by
        a later scrape.

        Raises:
            EnvironmentFault: the response is not from a model server.
        """
        known: set[float] = set()
        others: set[str] = set()
        repeats = 0
        with probe.client(self.url, self.token, TIMEOUT, {"connection": "close"}) as api:
            for _ in range(MAX_CONNECTIONS):
                page = _page(api)
                if page is None and not known:
                    break
                repeats += 1
                if page is not None and page.digest != self.digest:
                    others.add(page.digest)
                elif page is not None:
                    if page.started not in known:
                        repeats = 0
                    known.add(page.started)
                    self._pages[page.started] = page
                if repeats >= 2 + 3 * len(known):
                    break
        self.others = frozenset(others)
        return bool(known)

    @property
    def pages(self) -> Collection[MetricsPage]:
        """The newest page of each known server."""
        return self._pages.values()

    def totals(self) -> MetricTotals:
        """Return the sum over the newest page of each known server."""
        pages = self._pages.values()
        return MetricTotals(
            instances=len(pages),
            statuses=_sum(page.statuses for page in pages),
            seconds=_sum(page.seconds for page in pages),
            predictions=_sum(page.predictions for page in pages),
        )


def parse(text: str) -> MetricsPage:
    """Read a page in Prometheus' text format.

    Raises:
        ValueError: it is not the page of a model server.
    """
    from prometheus_client.parser import text_string_to_metric_families

    digest, started = "", math.nan
    statuses: Counter[int] = Counter()
    seconds: dict[str, dict[float, float]] = {path: {} for path in PATHS}
    predictions: dict[float, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            match sample.name.removeprefix(PREFIX):
                case "model":
                    digest = labels["digest"]
                case "start_time_seconds":
                    started = sample.value
                case "requests_total" if labels["path"] in PATHS:
                    statuses[int(labels["status"])] += int(sample.value)
                case "request_seconds_bucket" if labels["path"] in PATHS:
                    seconds[labels["path"]][float(labels["le"])] = sample.value
                case "prediction_bucket":
                    predictions[float(labels["le"])] = sample.value
                case _:
                    pass
    if not digest or not math.isfinite(started) or not predictions:
        raise ValueError("not the metrics page of a model server")
    seconds_of_all = _sum(_per_bucket(buckets) for buckets in seconds.values())
    return MetricsPage(digest, started, statuses, seconds_of_all, _per_bucket(predictions))


def _page(api: httpx.Client) -> MetricsPage | None:
    """Return the page over one connection; None if no server responds."""
    import httpx

    try:
        answer = api.get("/metrics")
    except httpx.TransportError:
        return None
    if answer.status_code >= SERVER_FAULT:
        return None
    where = f"GET {api.base_url}/metrics".replace("//metrics", "/metrics")
    if answer.status_code != OK:
        raise EnvironmentFault(
            f"{where}: status {answer.status_code}",
            expected="200",
            hint="serving.token_env names the variable with the token; a proxy must allow the path",
        )
    try:
        return parse(answer.text)
    except (ValueError, KeyError) as error:
        raise EnvironmentFault(f"{where}: {error}") from None


def _per_bucket(cumulated: Buckets) -> dict[float, float]:
    """Return the counts of each bucket, from cumulative counts."""
    counts, below = {}, 0.0
    for bound, count in sorted(cumulated.items()):
        counts[bound] = count - below
        below = count
    return counts


def _sum(mappings: Iterable[Mapping[Key, float]]) -> dict[Key, float]:
    total: dict[Key, float] = {}
    for mapping in mappings:
        for key, count in mapping.items():
            total[key] = total.get(key, 0.0) + count
    return dict(sorted(total.items()))
