"""The metrics of the server, exposed for Prometheus.

Every request pays for counting, so a count is an addition in a list: 0.5 µs, where a counter and a
histogram of prometheus_client take 4 µs together. prometheus_client renders the exposition.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from ml_pipeline.serving.feature_counts import FeatureCounts
from ml_pipeline.serving.refusals import REASONS
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    from ml_pipeline.features.schema import FeatureSchema
    from ml_pipeline.serving.prediction_log import PredictionLog
    from ml_pipeline.serving.refusals import Refusal
    from ml_pipeline.tasks.base import Task, Value

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
OTHER = "other"
"""Label of all unknown paths, so that clients cannot create time series."""
PREFIX = "ml_serving_"


class Histogram:
    """Counts by upper bound, and the sum of the values."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return each upper bound, as text, with the cumulative count."""
        total, cumulative = 0, []
        names = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        for name, count in zip(names, self.counts, strict=True):
            total += count
            cumulative.append((name, float(total)))
        return cumulative


@dataclass(frozen=True)
class ServedModel:
    """What the metrics say of the model."""

    project: str
    version: int | None
    """The registered version, if any."""
    digest: str
    """Of the bundle."""
    task: Task
    """Gives the bins of the histogram of predictions."""
    schema: FeatureSchema
    train_end: str | None = None
    """The last day trained on: an ISO date, a number where times are counted, or None."""

    @cached_property
    def training_end(self) -> float | None:
        """Unix time of the begin of the last day trained on, in UTC; None if it is no date."""
        try:
            day = datetime.strptime(f"{self.train_end} +0000", "%Y-%m-%d %z")
        except ValueError:
            return None
        return day.timestamp()


class Metrics(Collector):
    """The metrics of one server process.

    Args:
        model: the served model.
        paths: values of the label ``path``; all other paths count as ``OTHER``.
    """

    def __init__(self, model: ServedModel, paths: Iterable[str]) -> None:
        task = model.task
        self._model = model
        self._info = {
            "model": model.project,
            "version": "" if model.version is None else str(model.version),
            "digest": model.digest,
        }
        self._started = time.time()
        self._seconds = {path: Histogram(SECONDS) for path in (*paths, OTHER)}
        self._requests: dict[tuple[str, int], int] = {}
        self.predictions = Histogram(task.bins)
        self._value = task.histogram_value
        self._unit = "probabilities" if task.name == BINARY.name else "values"
        self._last_prediction: float | None = None
        self._refused: dict[str, int] = dict.fromkeys(REASONS, 0)
        self.features = FeatureCounts(model.schema)
        """Receives the predicted rows, other than those of probes."""
        self.probes = 0
        """Requests of ml-pipeline itself, which no other metric counts."""
        self.in_flight = 0
        self.queue: Callable[[], int] = int
        """Returns the number of requests that wait for the inference thread."""
        self.log: PredictionLog | None = None
        self.mirrored: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """Returns the numbers of requests offered to a shadow and dropped."""
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def record(self, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered with ``status`` after ``seconds``."""
        histogram = self._seconds.get(path)
        if histogram is None:
            path, histogram = OTHER, self._seconds[OTHER]
        histogram.observe(seconds)
        key = (path, status)
        self._requests[key] = self._requests.get(key, 0) + 1

    def count_predictions(self, predictions: list[Value]) -> None:
        """Count the predictions of a request; with several classes, the largest probability."""
        histogram = self.predictions
        counts, bounds = histogram.counts, histogram.bounds
        for value in map(self._value, predictions):
            counts[bisect_left(bounds, value)] += 1
            histogram.sum += value
        if predictions:
            self._last_prediction = time.time()

    def count_refusal(self, refusal: Refusal) -> None:
        """Count a refused request for predictions."""
        self._refused[refusal.reason] += 1
        if refusal.unseen is not None:
            self.features.refuse_unseen(refusal.unseen)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return the exposition in the format that the scraper accepts, and its content type."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families; called by prometheus_client."""
        info = GaugeMetricFamily(f"{PREFIX}model", "What is served.", labels=list(self._info))
        info.add_metric(list(self._info.values()), 1)
        yield info
        if self._model.training_end is not None:
            yield _gauge(
                "training_end_time_seconds",
                "Last day that the model was trained on, its begin in UTC as Unix time.",
                self._model.training_end,
            )
        requests = CounterMetricFamily(
            f"{PREFIX}requests", "Answered requests.", labels=["path", "status"]
        )
        errors = CounterMetricFamily(
            f"{PREFIX}errors", "Requests answered with 400 or above.", labels=["path", "status"]
        )
        for (path, status), count in sorted(self._requests.items()):
            requests.add_metric([path, str(status)], count)
            if status >= 400:
                errors.add_metric([path, str(status)], count)
        yield requests
        yield errors
        seconds = HistogramMetricFamily(
            f"{PREFIX}request_seconds",
            "From a request's headers to its answer, in seconds.",
            labels=["path"],
        )
        for path, histogram in self._seconds.items():
            seconds.add_metric([path], histogram.buckets(), histogram.sum)
        yield seconds
        yield HistogramMetricFamily(
            f"{PREFIX}prediction",
            f"Predicted {self._unit}, one a row.",
            self.predictions.buckets(),
            self.predictions.sum,
        )
        yield _counter("rows", "Predicted rows.", sum(self.predictions.counts))
        if self._last_prediction is not None:
            yield _gauge(
                "last_prediction_time_seconds",
                "When rows were last predicted, as Unix time.",
                self._last_prediction,
            )
        yield _counters("refused", "Refused requests for predictions.", "reason", self._refused)
        yield from self._collect_features()
        yield _counter("probes", "Requests of ml-pipeline itself, counted here only.", self.probes)
        yield _gauge("start_time_seconds", "Since when it counts, as Unix time.", self._started)
        yield _gauge("in_flight", "Requests that are not answered yet.", self.in_flight)
        yield _gauge("queue", "Requests that wait for the model's thread.", self.queue())
        written, dropped = (self.log.written, self.log.dropped) if self.log else (0, 0)
        yield _counter("prediction_log_written", "Requests in the prediction log.", written)
        yield _counter("prediction_log_dropped", "Requests that it lacks.", dropped)
        offered, dropped = self.mirrored()
        yield _counter("shadow_offered", "Requests to be copied to a shadow.", offered)
        yield _counter("shadow_dropped", "Requests of these that were not copied.", dropped)

    def _collect_features(self) -> Iterator[Metric]:
        counts, name = self.features, "feature"
        yield _counters(
            "feature_missing", "Missing values in predicted rows.", name, counts.missing
        )
        yield _counters(
            "feature_out_of_range",
            "Numbers in predicted rows that are outside the range of training.",
            name,
            counts.out_of_range,
        )
        yield _counters(
            "feature_unseen",
            "Categories in requests that training did not have.",
            name,
            counts.unseen,
        )
        shares = GaugeMetricFamily(
            f"{PREFIX}training_missing_ratio",
            "Share of the training rows without a value.",
            labels=[name],
        )
        for feature in self._model.schema.features:
            if feature.missing is not None:
                shares.add_metric([feature.name], feature.missing)
        yield shares


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, description, value)


def _counter(name: str, description: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, description, value)


def _counters(name: str, description: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return a counter for each value of a label."""
    family = CounterMetricFamily(PREFIX + name, description, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
