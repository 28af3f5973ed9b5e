"""Runs the model: at once where that is quick, otherwise in a thread behind a bounded queue.

A row takes microseconds, less than handing it to a thread does; so it is answered on the event
loop, where no more can wait than there are connections. Single rows that arrive in one turn of the
loop are answered by one call of the model. None of them waits for that: the loop writes no answer
before it has read all that has arrived. What takes longer (many rows, a large model) would hold
everybody up there. It waits for a thread instead, ``max_queue`` requests at most and
``max_seconds`` at most. ONNX Runtime lets go of the interpreter meanwhile, so quick requests
overtake. How long a row takes is measured all the time, in time of the thread on the processor:
where others keep that busy, or the event loop the interpreter, a quick model stays one. (By the
clock it would go to the thread, wait more there, and so stay there until requests are refused.) The
lesser of two measurements in a row counts.
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

from ml_pipeline.serving.requests import RequestError

if TYPE_CHECKING:
    from ml_pipeline.bundle.reader import Bundle
    from ml_pipeline.tasks.base import Value

logger = logging.getLogger("ml_pipeline.serving")

QUICK_SECONDS = 0.001
"""Longest estimated time of a prediction on the event loop."""
TOGETHER = 64
"""Most rows of one call of the model for several requests."""

Rows = list[Any]
Told = Callable[["list[Value] | Exception"], None]
"""Takes the predictions for a request's rows, or the exception that prevents them."""


@dataclass
class _Job:
    rows: Rows
    answer: asyncio.Future[list[Value]]
    loop: asyncio.AbstractEventLoop


class Inference:
    """Answers rows with predictions.

    Args:
        bundle: opened, verified and warm.
        max_queue: requests that may wait for the thread or be in it.
        max_seconds: longest time that one of them waits for its answer.
    """

    def __init__(self, bundle: Bundle, max_queue: int, max_seconds: float) -> None:
        self._bundle = bundle
        self._max_queue = max_queue
        self._max_seconds = max_seconds
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.waiting = 0
        """Requests in the queue or in the thread."""
        self._gathered: list[Told] = []
        self._matrix = bundle.schema.empty(TOGETHER)
        self._row_seconds = 0.0
        rows = bundle.golden.inputs[:1]
        self._predict(rows)  # the first one also loads
        started = time.thread_time()
        self._predict(rows)
        self._row_seconds = self._measured = time.thread_time() - started

    def fits_event_loop(self, rows: int) -> bool:
        """Whether a request of that many rows is to be answered by ``now``."""
        return rows * self._row_seconds <= QUICK_SECONDS

    def now(self, rows: Rows) -> list[Value]:
        """Return the prediction for each row.

        Raises:
            FeatureError: a row does not fit the model.
        """
        started = time.thread_time()
        found = self._predict(rows)
        self._measure(time.thread_time() - started, len(rows))
        return found

    def batch_single_rows(self, row: Sequence[object], told: Told) -> None:
        """Answer one row with the others that come in this turn of the event loop.

        ``told`` is called in the loop's next turn, or by ``flush``.

        Raises:
            FeatureError: the row does not fit the model; ``told`` is not called.
        """
        gathered = self._gathered
        self._bundle.schema.encode_into(self._matrix, len(gathered), row)
        gathered.append(told)
        if len(gathered) == 1:
            asyncio.get_running_loop().call_soon(self.flush)
        elif len(gathered) == TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Answer the single rows that are waiting for their batch."""
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        started = time.thread_time()
        try:
            found = self._bundle.predict_list(self._matrix[: len(gathered)])
        except Exception as error:  # noqa: BLE001  # it is the requests' to tell
            for told in gathered:
                _tell(told, error)
            return
        self._measure(time.thread_time() - started, len(gathered))
        for told, prediction in zip(gathered, found, strict=True):
            _tell(told, [prediction])

    async def in_thread(self, rows: Rows) -> list[Value]:
        """Return the prediction for each row, once the thread has got to it.

        Raises:
            FeatureError: a row does not fit the model.
            RequestError: 429 where the queue is full, 503 where the answer is not there in time.
        """
        if self.waiting >= self._max_queue:
            seconds = self._row_seconds * len(rows) * self.waiting
            raise RequestError(
                429,
                f"{self.waiting} requests wait already; ask again later",
                retry_after=max(1, math.ceil(min(seconds, self._max_seconds))),
            )
        loop = asyncio.get_running_loop()
        job = _Job(rows, loop.create_future(), loop)
        self.waiting += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
            self._thread.start()
        self._jobs.put(job)
        try:
            async with asyncio.timeout(self._max_seconds):
                return await job.answer
        except TimeoutError:
            raise RequestError(
                503, f"no answer within {self._max_seconds:g} s; ask again later", retry_after=1
            ) from None

    def _measure(self, seconds: float, rows: int) -> None:
        measured = seconds / (rows or 1)
        self._row_seconds = min(measured, self._measured)
        self._measured = measured

    def _predict(self, rows: Rows) -> list[Value]:
        if not rows:
            return []
        bundle = self._bundle
        return bundle.predict_list(bundle.schema.encode_rows(rows))

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            found: list[Value] | BaseException = []
            if not job.answer.cancelled():
                try:
                    found = self.now(job.rows)
                except BaseException as error:  # noqa: BLE001  # it is the request's to tell
                    found = error
            try:
                job.loop.call_soon_threadsafe(self._deliver, job, found)
            except RuntimeError:
                self.waiting -= 1  # the loop is closed: nobody asks any more

    def _deliver(self, job: _Job, found: list[Value] | BaseException) -> None:
        self.waiting -= 1
        if job.answer.done():
            return
        if isinstance(found, BaseException):
            job.answer.set_exception(found)
        else:
            job.answer.set_result(found)


def _tell(told: Told, found: list[Value] | Exception) -> None:
    """Answer one request. An exception in one callback does not affect the rest of the batch."""
    try:
        told(found)
    except Exception:
        logger.exception("fault")
