"""Runs the model: on the event loop if it is fast, otherwise in a thread with a bounded queue.

Predicting a row takes microseconds, less than passing it to a thread, so it is done on the event
loop, where the number of connections bounds the requests. Single rows that arrive in one iteration
of the loop are predicted by one call of the model; none of them is delayed by this, since the loop
writes no response before it has read all input. Slower requests (many rows, a large model) would
block the loop. They wait for a thread, at most ``max_queue`` requests for at most ``max_seconds``.
ONNX Runtime releases the GIL, so fast requests overtake them. The time of a row is measured
continuously, as CPU time of the thread: with wall time, a fast model on a busy machine would be
moved to the thread, wait longer there, and stay there. The lesser of the last two measurements
counts.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.serving.request_checks import RequestError

if TYPE_CHECKING:
    from ml_pipeline.bundle.reader import Bundle
    from ml_pipeline.features.schema import Float32Array
    from ml_pipeline.serving.feature_counts import FeatureCounts
    from ml_pipeline.tasks.base import Value

logger = logging.getLogger("ml_pipeline.serving")

MAX_INLINE_SECONDS = 0.001
"""Longest estimated time of a request that is predicted on the event loop."""
MAX_BATCH = 64
"""Rows of one call of the model for several requests."""

Rows = list[Any]
Callback = Callable[["list[Value] | Exception"], None]
"""Receives the predictions for a request's rows, or the exception that was raised."""


@dataclass
class _Job:
    rows: Rows
    probe: bool
    future: asyncio.Future[list[Value]]
    loop: asyncio.AbstractEventLoop
    encoded: Float32Array | None = None


class Inference:
    """Predicts rows, and counts what is unusual in those of clients.

    Args:
        bundle: opened and verified.
        counts: receives the predicted rows that are not of probes.
        max_queue: requests that may wait for the thread or be processed by it.
        max_seconds: longest time that one of them waits for its predictions.
    """

    def __init__(
        self, bundle: Bundle, counts: FeatureCounts, max_queue: int, max_seconds: float
    ) -> None:
        self._bundle = bundle
        self._counts = counts
        self._max_queue = max_queue
        self._max_seconds = max_seconds
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.waiting = 0
        """Requests that wait for the thread or are processed by it."""
        self._batch: list[Callback] = []
        self._batch_rows: list[Sequence[object]] = []
        self._batch_probes: list[int] = []
        """Places of the batch's rows that are of probes."""
        self._matrix = bundle.schema.empty(MAX_BATCH)
        self._row_seconds = 0.0
        rows = bundle.golden.inputs[:1]
        self._predict(rows)  # the first call also loads the model
        started = time.thread_time()
        self._predict(rows)
        self._row_seconds = self._last_row_seconds = time.thread_time() - started

    def fits_event_loop(self, rows: int) -> bool:
        """Whether a request of this many rows can be predicted by ``predict_inline``."""
        return rows * self._row_seconds <= MAX_INLINE_SECONDS

    def predict_inline(self, rows: Rows, *, probe: bool) -> list[Value]:
        """Return the prediction for each row.

        Args:
            rows: in the order of the model's features.
            probe: whether they are of a probe, which is not counted.

        Raises:
            FeatureError: a row does not fit the model.
        """
        predictions, encoded = self._measured_predict(rows)
        if not probe and encoded is not None:
            self._counts.add(encoded, rows)
        return predictions

    def batch_single_rows(self, row: Sequence[object], callback: Callback, *, probe: bool) -> None:
        """Predict one row together with others of this iteration of the event loop.

        ``callback`` is called in the loop's next iteration, or by ``flush``.

        Raises:
            FeatureError: the row does not fit the model; ``callback`` is not called.
        """
        batch = self._batch
        self._bundle.schema.encode_into(self._matrix, len(batch), row)
        if probe:
            self._batch_probes.append(len(batch))
        batch.append(callback)
        self._batch_rows.append(row)
        if len(batch) == 1:
            asyncio.get_running_loop().call_soon(self.flush)
        elif len(batch) == MAX_BATCH:
            self.flush()

    def flush(self) -> None:
        """Predict the single rows of the current batch."""
        batch, self._batch = self._batch, []
        if not batch:
            return
        rows, self._batch_rows = self._batch_rows, []
        probes, self._batch_probes = self._batch_probes, []
        encoded = self._matrix[: len(batch)]
        started = time.thread_time()
        try:
            predictions = self._bundle.predict_list(encoded)
        except Exception as error:  # noqa: BLE001  # passed to the requests
            for callback in batch:
                _call(callback, error)
            return
        self._measure(time.thread_time() - started, len(batch))
        if probes:
            clients = [place for place in range(len(batch)) if place not in probes]
            encoded, rows = encoded[clients], [rows[place] for place in clients]
        self._counts.add(encoded, rows)
        for callback, prediction in zip(batch, predictions, strict=True):
            _call(callback, [prediction])

    async def in_thread(self, rows: Rows, *, probe: bool) -> list[Value]:
        """Return the prediction for each row, computed in the thread; see ``predict_inline``.

        Raises:
            FeatureError: a row does not fit the model.
            RequestError: 429 if the queue is full, 503 if the predictions are not ready in time.
        """
        if self.waiting >= self._max_queue:
            seconds = self._row_seconds * len(rows) * self.waiting
            raise RequestError(
                429,
                f"{self.waiting} requests wait already; retry later",
                retry_after=max(1, math.ceil(min(seconds, self._max_seconds))),
            )
        loop = asyncio.get_running_loop()
        job = _Job(rows, probe, loop.create_future(), loop)
        self.waiting += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._run_jobs, name="inference", daemon=True)
            self._thread.start()
        self._jobs.put(job)
        try:
            async with asyncio.timeout(self._max_seconds):
                return await job.future
        except TimeoutError:
            raise RequestError(
                503, f"no prediction within {self._max_seconds:g} s; retry later", retry_after=1
            ) from None

    def _measure(self, seconds: float, rows: int) -> None:
        measured = seconds / (rows or 1)
        self._row_seconds = min(measured, self._last_row_seconds)
        self._last_row_seconds = measured

    def _measured_predict(self, rows: Rows) -> tuple[list[Value], Float32Array | None]:
        started = time.thread_time()
        found = self._predict(rows)
        self._measure(time.thread_time() - started, len(rows))
        return found

    def _predict(self, rows: Rows) -> tuple[list[Value], Float32Array | None]:
        """Return the predictions and the encoded rows; None if there are no rows."""
        if not rows:
            return [], None
        encoded = self._bundle.schema.encode_rows(rows)
        return self._bundle.predict_list(encoded), encoded

    def _run_jobs(self) -> None:
        while True:
            job = self._jobs.get()
            predictions: list[Value] | BaseException = []
            if not job.future.cancelled():
                try:
                    predictions, job.encoded = self._measured_predict(job.rows)
                except BaseException as error:  # noqa: BLE001  # passed to the request
                    predictions = error
            try:
                job.loop.call_soon_threadsafe(self._resolve, job, predictions)
            except RuntimeError:
                self.waiting -= 1  # the loop is closed, so the server has ended

    def _resolve(self, job: _Job, predictions: list[Value] | BaseException) -> None:
        self.waiting -= 1
        if job.future.done():
            return
        if isinstance(predictions, BaseException):
            job.future.set_exception(predictions)
        else:
            if not job.probe and job.encoded is not None:
                self._counts.add(job.encoded, job.rows)
            job.future.set_result(predictions)


def _call(callback: Callback, predictions: list[Value] | Exception) -> None:
    """Call one callback. Its exception does not affect the rest of the batch."""
    try:
        callback(predictions)
    except Exception:
        logger.exception("fault")
