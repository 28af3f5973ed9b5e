"""The process that computes features of raw rows for a server, started when it is first needed.

It is bounded: as many requests wait for it as may, each for so long at most. It is ended when it
takes longer, and started again with the next request; so it is when it has crashed.
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
    Failure,
    Features,
    Message,
    Ready,
    decode,
)
from ml_pipeline.serving.requests import RequestError

START_SECONDS = 60.0
"""Time for the worker to import the bundle's code and the packages that it needs."""
RETRY_SECONDS = 5.0
"""After a start that failed for a reason that may pass, requests are refused for so long."""
END_SECONDS = 5.0
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Beside the system's variables all of the environment that the bundle's code gets: the server's
token is not in it."""
UNAVAILABLE = 501
OOM_FIRST = "1000"
MODULE = "ml_pipeline.scoring.feature_worker"
NEEDED = ("ml_pipeline.scoring", "pandas")
INSTEAD = "or send the features to /predict"

logger = logging.getLogger("ml_pipeline.serving")


@dataclass(frozen=True)
class RawLimits:
    """The largest request of raw rows, and how many may wait for how long."""

    max_rows: int = 10_000
    """Rows of a request, the history included."""
    max_queue: int = 8
    max_seconds: float = 10.0
    max_memory: int = 2 << 30
    """Bytes that the worker may hold after an answer; beyond, it ends and is started again."""


@dataclass(frozen=True)
class RawPlace:
    """Where the server runs, as far as messages about raw rows name it."""

    environment: str | None = None
    """None where the server was started by hand."""
    off: bool = False
    """Whether the environment's ``raw_rows`` is false."""
    scratch: Path | None = None
    """The folder that the worker may write to; the system's for temporary files if None."""

    @property
    def switched_off(self) -> str:
        """What a client is told where raw rows are off."""
        if self.environment is None:
            return f"this server was started with --raw-off: start it without, {INSTEAD}"
        return (
            "this environment does not compute features: whoever deploys it sets 'environments."
            f"{self.environment}.raw_rows: true' in ml.yaml and deploys again, {INSTEAD}"
        )

    @property
    def not_installed(self) -> str:
        """What a client is told where the packages are lacking."""
        lacking = "this server's environment has no packages to compute features"
        if self.environment is None:
            return f"{lacking}: start it where jenkins-ml-pipeline is installed, {INSTEAD}"
        key = f"environments.{self.environment}.image"
        return (
            f"{lacking}: whoever deploys it sets {key} in ml.yaml to an image of "
            f"docker/server-raw.Dockerfile, or removes {key}, and deploys again, {INSTEAD}"
        )


class WorkerError(Exception):
    """The worker ended, or answers with something else than messages."""


class FeatureProcess:
    """Computes features in a worker process, one request after the other.

    Args:
        bundle: its folder; the bundle was verified.
        limits: of rows, queue, time and memory.
        place: where the server runs.
    """

    def __init__(self, bundle: Path, limits: RawLimits, place: RawPlace | None = None) -> None:
        self._bundle = bundle
        self._limits = limits
        self._where = place or RawPlace()
        self._scratch: TemporaryDirectory[str] | None = None
        """Where the worker may write: nowhere else, where the system can confine it."""
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._refusal: tuple[Failure, float] | None = None
        """Why the last start failed, and until when that stands."""
        self.waiting = 0
        """Requests in the queue or in the worker."""
        self.starts = 0

    @property
    def max_rows(self) -> int:
        return self._limits.max_rows

    async def compute(self, body: bytes | bytearray) -> Features:
        """Return the features of a request's rows.

        Raises:
            RequestError: 4xx as the worker says; 429 where the queue is full; 501 where the
                bundle's code cannot run here; 503 where the worker ended or took too long.
        """
        if self._where.off:
            raise RequestError(UNAVAILABLE, self._where.switched_off)
        limits = self._limits
        if self.waiting >= limits.max_queue:
            raise RequestError(
                429, f"{self.waiting} requests of raw rows wait already; ask again later", 1
            )
        self.waiting += 1
        try:
            try:
                async with asyncio.timeout(limits.max_seconds + START_SECONDS):
                    await self._turn.acquire()
            except TimeoutError:
                told = "no turn for raw rows in time; ask again later"
                raise RequestError(503, told, 1) from None
            try:
                answer = await self._answer(bytes(body))
            finally:
                self._turn.release()
        finally:
            self.waiting -= 1
        if isinstance(answer, Failure):
            raise RequestError(answer.status, answer.error)
        return answer

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

    async def _answer(self, body: bytes) -> Features | Failure:
        failed = await self._started()
        if failed is not None:
            return failed
        assert self._process is not None
        process = self._process
        try:
            async with asyncio.timeout(self._limits.max_seconds):
                found = await _exchange(process, body)
        except TimeoutError:
            fault = f"the features took over {self._limits.max_seconds:g} s"
        except (WorkerError, OSError) as error:
            fault = f"the feature worker failed: {error}"
        except asyncio.CancelledError:  # the answer to come would be taken for the next request's
            self._process = None
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        else:
            if not isinstance(found, Ready):
                return found
            fault = "the feature worker failed: it answers out of turn"
        logger.warning("%s; it is started again with the next request", fault)
        self._process = None
        await _kill(process)
        raise RequestError(503, f"{fault}; ask again later", retry_after=1)

    async def _started(self) -> Failure | None:
        """Start the worker unless it runs; return why it does not."""
        now = asyncio.get_running_loop().time()
        if self._refusal is not None and now < self._refusal[1]:
            return self._refusal[0]
        if self._process is not None:
            if self._process.returncode is None:
                return None
            logger.warning("the feature worker ended with %s", self._process.returncode)
        if any(find_spec(name) is None for name in NEEDED):
            return Failure(UNAVAILABLE, self._where.not_installed)
        self._process = await self._spawn()
        self.starts += 1
        try:
            async with asyncio.timeout(START_SECONDS):
                message = await _receive(self._process)
        except (TimeoutError, WorkerError, OSError) as error:
            told = str(error) or f"not ready within {START_SECONDS:g} s"
            message = Failure(503, f"the feature worker does not start: {told}")
        if isinstance(message, Ready):
            self._refusal = None
            return None
        process, self._process = self._process, None
        await _kill(process)
        if isinstance(message, Features):
            message = Failure(503, "the feature worker does not start: it answers out of turn")
        logger.warning(message.error)
        lasts = float("inf") if message.status == UNAVAILABLE else now + RETRY_SECONDS
        self._refusal = message, lasts
        return message

    async def _spawn(self) -> Process:
        from ml_pipeline.core import landlock  # not in the image without the packages
        from ml_pipeline.core.home import secret_files
        from ml_pipeline.core.landlock import Rules

        command = [sys.executable, "-P", "-m", MODULE, "--bundle", str(self._bundle)]
        command += ["--max-rows", str(self._limits.max_rows)]
        command += ["--max-memory", str(self._limits.max_memory)]
        scratch = self._place()
        confined = landlock.command(Rules((scratch,), secret_files(near=(self._bundle,))), command)
        process = await asyncio.create_subprocess_exec(
            *confined, stdin=PIPE, stdout=PIPE, stderr=None if _has_stderr() else DEVNULL,
            env=inherited(*THREADS) | {"TMPDIR": str(scratch)} | self._home(scratch),
        )  # fmt: skip
        _end_first(process.pid)
        return process

    def _home(self, scratch: Path) -> dict[str, str]:
        """Return a HOME that can be written to, where the server's own cannot."""
        return {} if self._where.scratch is None else {"HOME": str(scratch)}

    def _place(self) -> Path:
        if self._scratch is None:
            self._scratch = TemporaryDirectory(
                prefix="features-", dir=self._where.scratch, ignore_cleanup_errors=True
            )
        return Path(self._scratch.name).resolve()


def _end_first(pid: int) -> None:
    """Let the kernel end the worker before the server, where a container's memory is full."""
    with contextlib.suppress(OSError):  # there is no such file where the system is not Linux
        Path(f"/proc/{pid}/oom_score_adj").write_text(OOM_FIRST)


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
            raise WorkerError(f"it answers with {length} bytes")
        message: Message = decode(await process.stdout.readexactly(length))
    except asyncio.IncompleteReadError:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await process.wait()
        raise WorkerError(f"it ended with {process.returncode}") from None
    except msgspec.DecodeError as error:
        raise WorkerError(f"it answers with no message: {error}") from None
    return message


async def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
