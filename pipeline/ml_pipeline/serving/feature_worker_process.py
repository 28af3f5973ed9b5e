"""The worker process that computes the features of raw rows; started with the first request.

Its queue and the time of a request are bounded. A worker that takes too long is killed; a worker
that was killed or crashed is started again with the next request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from ml_pipeline.core.subprocess_environment import inherited
from ml_pipeline.serving.feature_messages import (
    HEADER,
    MAX_FRAME,
    ComputedFeatures,
    Failure,
    Message,
    Ready,
    decode,
)
from ml_pipeline.serving.request_checks import RequestError

START_SECONDS = 60.0
"""Time for the worker to import the bundle's code and the packages that it needs."""
RETRY_SECONDS = 5.0
"""After a failed start that may succeed later, requests are refused for this long."""
END_SECONDS = 5.0
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Passed to the worker besides the system's variables; the server's token is not passed."""
UNAVAILABLE, SCHEMA_ERROR = 501, 422
OOM_SCORE_ADJ = "1000"
MODULE = "ml_pipeline.scoring.feature_worker"
REQUIRED_MODULES = ("ml_pipeline.scoring", "pandas")
ALTERNATIVE = "or send the features to /predict"

logger = logging.getLogger("ml_pipeline.serving")


@dataclass(frozen=True)
class RawRowLimits:
    """Limits on requests of raw rows and on their queue."""

    max_rows: int = 10_000
    """Rows of a request, including history."""
    max_queue: int = 8
    max_seconds: float = 10.0
    max_memory: int = 2 << 30
    """Bytes of memory after a response, above which the worker exits and is started again."""


@dataclass(frozen=True)
class RawRowsContext:
    """The server's environment and the worker's scratch folder."""

    environment: str | None = None
    """Its name, for error messages; None if the server was started by hand."""
    disabled: bool = False
    """Whether the environment's ``raw_rows`` is false."""
    scratch: Path | None = None
    """Parent of the folder that the worker may write to; None: the system's temporary folder."""

    @property
    def disabled_message(self) -> str:
        """The error message if raw rows are disabled."""
        if self.environment is None:
            return f"this server was started with --raw-off: start it without, {ALTERNATIVE}"
        return (
            "this environment does not compute features: set 'environments."
            f"{self.environment}.raw_rows: true' in ml.yaml and deploy again, {ALTERNATIVE}"
        )

    @property
    def not_installed_message(self) -> str:
        """The error message if required packages are not installed."""
        missing = "the packages that compute features are not installed with this server"
        if self.environment is None:
            return f"{missing}: start it where jenkins-ml-pipeline is installed, {ALTERNATIVE}"
        key = f"environments.{self.environment}.image"
        return (
            f"{missing}: set {key} in ml.yaml to an image of "
            f"docker/server-raw.Dockerfile, or remove {key}, and deploy again, {ALTERNATIVE}"
        )


class WorkerError(Exception):
    """The worker ended or sent an invalid message."""


class FeatureWorker:
    """Computes features in a worker process, one request at a time.

    Args:
        bundle: folder of a verified bundle.
        limits: on rows, queue, time and memory.
        context: the server's environment.
    """

    def __init__(
        self, bundle: Path, limits: RawRowLimits, context: RawRowsContext | None = None
    ) -> None:
        self._bundle = bundle
        self._limits = limits
        self._context = context or RawRowsContext()
        self._scratch: TemporaryDirectory[str] | None = None
        """The only folder that the worker may write to, where the system can enforce it."""
        self._process: Process | None = None
        self._lock = asyncio.Lock()
        self._refusal: tuple[Failure, float] | None = None
        """Failure of the last start, and the loop time until which it is returned."""
        self.waiting = 0
        """Requests in the queue or in the worker."""
        self.starts = 0

    @property
    def max_rows(self) -> int:
        return self._limits.max_rows

    async def compute(self, body: bytes | bytearray) -> ComputedFeatures:
        """Return the features of a request's rows.

        Raises:
            RequestError: 4xx as the worker returns it; 429 if the queue is full; 501 if the
                bundle's code cannot run here; 503 if the worker ended or took too long.
        """
        if self._context.disabled:
            raise RequestError(UNAVAILABLE, self._context.disabled_message)
        limits = self._limits
        if self.waiting >= limits.max_queue:
            raise RequestError(
                429, f"{self.waiting} requests of raw rows wait already; retry later", 1
            )
        self.waiting += 1
        try:
            try:
                async with asyncio.timeout(limits.max_seconds + START_SECONDS):
                    await self._lock.acquire()
            except TimeoutError:
                reason = "raw rows: the requests before this one took too long; retry later"
                raise RequestError(503, reason, 1) from None
            try:
                features = await self._request(bytes(body))
            finally:
                self._lock.release()
        finally:
            self.waiting -= 1
        if isinstance(features, Failure):
            is_schema_error = features.status == SCHEMA_ERROR
            raise RequestError(features.status, features.error, schema_error=is_schema_error)
        return features

    async def close(self) -> None:
        """End the worker."""
        process, self._process = self._process, None
        try:
            await self._end(process)
        finally:
            if self._scratch is not None:
                self._scratch.cleanup()

    async def _end(self, process: Process | None) -> None:
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        except TimeoutError:
            await _kill(process)

    async def _request(self, body: bytes) -> ComputedFeatures | Failure:
        failure = await self._ensure_started()
        if failure is not None:
            return failure
        assert self._process is not None
        process = self._process
        try:
            async with asyncio.timeout(self._limits.max_seconds):
                message = await _exchange(process, body)
        except TimeoutError:
            fault = f"the features took over {self._limits.max_seconds:g} s"
        except (WorkerError, OSError) as error:
            fault = f"the feature worker failed: {error}"
        except asyncio.CancelledError:  # its response would be read as that of the next request
            self._process = None
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        else:
            if not isinstance(message, Ready):
                return message
            fault = "the feature worker failed: unexpected message"
        logger.warning("%s; it is started again with the next request", fault)
        self._process = None
        await _kill(process)
        raise RequestError(503, f"{fault}; retry later", retry_after=1)

    async def _ensure_started(self) -> Failure | None:
        """Start the worker unless it runs; return the failure if it cannot be started."""
        now = asyncio.get_running_loop().time()
        if self._refusal is not None and now < self._refusal[1]:
            return self._refusal[0]
        if self._process is not None:
            if self._process.returncode is None:
                return None
            logger.warning("the feature worker ended with %s", self._process.returncode)
        if any(find_spec(name) is None for name in REQUIRED_MODULES):
            return Failure(UNAVAILABLE, self._context.not_installed_message)
        self._process = await self._spawn()
        self.starts += 1
        try:
            async with asyncio.timeout(START_SECONDS):
                message = await _receive(self._process)
        except (TimeoutError, WorkerError, OSError) as error:
            reason = str(error) or f"not ready within {START_SECONDS:g} s"
            message = Failure(503, f"the feature worker does not start: {reason}")
        if isinstance(message, Ready):
            self._refusal = None
            return None
        process, self._process = self._process, None
        await _kill(process)
        if isinstance(message, ComputedFeatures):
            message = Failure(503, "the feature worker does not start: unexpected message")
        logger.warning(message.error)
        until = float("inf") if message.status == UNAVAILABLE else now + RETRY_SECONDS
        self._refusal = message, until
        return message

    async def _spawn(self) -> Process:
        from ml_pipeline.core import landlock  # missing in the image without the packages
        from ml_pipeline.core.home import secret_files
        from ml_pipeline.core.landlock import Rules

        command = [sys.executable, "-P", "-m", MODULE, "--bundle", str(self._bundle)]
        command += ["--max-rows", str(self._limits.max_rows)]
        command += ["--max-memory", str(self._limits.max_memory)]
        scratch = self._scratch_folder()
        confined_command = landlock.command(
            Rules((scratch,), secret_files(near=(self._bundle,))), command
        )
        process = await asyncio.create_subprocess_exec(
            *confined_command, stdin=PIPE, stdout=PIPE, stderr=None if _has_stderr() else DEVNULL,
            env=inherited(*THREADS) | {"TMPDIR": str(scratch)} | self._home(scratch),
        )  # fmt: skip
        _prefer_for_oom_kill(process.pid)
        return process

    def _home(self, scratch: Path) -> dict[str, str]:
        """Return a writable HOME, if the server's own is read-only."""
        return {} if self._context.scratch is None else {"HOME": str(scratch)}

    def _scratch_folder(self) -> Path:
        if self._scratch is None:
            self._scratch = TemporaryDirectory(
                prefix="features-", dir=self._context.scratch, ignore_cleanup_errors=True
            )
        return Path(self._scratch.name).resolve()


def _prefer_for_oom_kill(pid: int) -> None:
    """Let the kernel kill the worker before the server when memory runs out."""
    with contextlib.suppress(OSError):  # the file exists on Linux only
        Path(f"/proc/{pid}/oom_score_adj").write_text(OOM_SCORE_ADJ)


def _has_stderr() -> bool:
    try:
        os.fstat(2)
    except OSError:
        return False
    return True


async def _exchange(process: Process, body: bytes) -> Message:
    assert process.stdin is not None
    process.stdin.write(HEADER.pack(len(body)) + body)
    await process.stdin.drain()
    return await _receive(process)


async def _receive(process: Process) -> Message:
    assert process.stdout is not None
    try:
        (length,) = HEADER.unpack(await process.stdout.readexactly(HEADER.size))
        if length > MAX_FRAME:
            raise WorkerError(f"message of {length} bytes")
        message: Message = decode(await process.stdout.readexactly(length))
    except asyncio.IncompleteReadError:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await process.wait()
        raise WorkerError(f"it ended with {process.returncode}") from None
    except msgspec.DecodeError as error:
        raise WorkerError(f"invalid message: {error}") from None
    return message


async def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
