"""What the servers at an address have counted since they started, read from ``/metrics``.

Behind one address there may be several servers, and each connection may reach another one. They
are distinguished by the moment at which they began to count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.traffic import probe

if TYPE_CHECKING:
    import httpx

PATHS = ("/predict", "/invocations")
PREFIX = "ml_serving_"
TIMEOUT = 5.0
MOST = 100
"""Connections of one look."""
OK, SERVER_FAULT = 200, 500

Key = TypeVar("Key", int, float)
Buckets = Mapping[float, float]
"""Upper bounds of a histogram, ascending to infinity, with the number of values in each bucket."""


@dataclass(frozen=True)
class Page:
    """One server's page: what it serves, since when it counts, and its scoring requests."""

    digest: str
    started: float
    """Unix time."""
    statuses: Mapping[int, float]
    seconds: Buckets
    predictions: Buckets


@dataclass(frozen=True)
class Seen:
    """The sum over the servers of one bundle; no request of ``ml-pipeline`` is in it."""

    instances: int = 0
    statuses: Mapping[int, float] = field(default_factory=dict)
    """How many requests were answered with each status."""
    seconds: Buckets = field(default_factory=dict)
    predictions: Buckets = field(default_factory=dict)


@dataclass
class Servers:
    """The servers of a bundle at an address, as far as they were met."""

    url: str
    digest: str
    token: str | None = None
    others: frozenset[str] = frozenset()
    """Digests of other bundles that answered at the last look."""
    _pages: dict[float, Page] = field(default_factory=dict)

    def look(self) -> bool:
        """Ask until no further server turns up; return whether one of the bundle answered.

        ``2 + 3 n`` connections in a row that find nothing new end a look at ``n`` servers: where
        each server is as likely as the others, one of three is then missed 1 time in 100, and it
        is met at a later look.

        Raises:
            EnvironmentFault: something answers there, and it is not a server of a model.
        """
        met: set[float] = set()
        others: set[str] = set()
        vain = 0
        with probe.client(self.url, self.token, TIMEOUT, {"connection": "close"}) as api:
            for _ in range(MOST):
                page = _page(api)
                if page is None and not met:
                    break
                vain += 1
                if page is not None and page.digest != self.digest:
                    others.add(page.digest)
                elif page is not None:
                    if page.started not in met:
                        vain = 0
                    met.add(page.started)
                    self._pages[page.started] = page
                if vain >= 2 + 3 * len(met):
                    break
        self.others = frozenset(others)
        return bool(met)

    def seen(self) -> Seen:
        """Return the sum of the newest page of each server that was ever met."""
        pages = self._pages.values()
        return Seen(
            instances=len(pages),
            statuses=_sum(page.statuses for page in pages),
            seconds=_sum(page.seconds for page in pages),
            predictions=_sum(page.predictions for page in pages),
        )


def parse(text: str) -> Page:
    """Read a page in Prometheus' text format.

    Raises:
        ValueError: it is not one of a server of a model.
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
        raise ValueError("no page of a server of a model")
    every = _sum(_apart(buckets) for buckets in seconds.values())
    return Page(digest, started, statuses, every, _apart(predictions))


def _page(api: httpx.Client) -> Page | None:
    """Return the page that one connection finds; None where no server answers."""
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
            hint="serving.token_env names the variable with the token; a proxy has to let the "
            "path through",
        )
    try:
        return parse(answer.text)
    except (ValueError, KeyError) as error:
        raise EnvironmentFault(f"{where}: {error}") from None


def _apart(cumulated: Buckets) -> dict[float, float]:
    """Return how many values are in each bucket, of how many are in it or below."""
    found, below = {}, 0.0
    for bound, count in sorted(cumulated.items()):
        found[bound] = count - below
        below = count
    return found


def _sum(mappings: Iterable[Mapping[Key, float]]) -> dict[Key, float]:
    total: dict[Key, float] = {}
    for mapping in mappings:
        for key, count in mapping.items():
            total[key] = total.get(key, 0.0) + count
    return dict(sorted(total.items()))
