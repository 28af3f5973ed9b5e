"""Locks on files between processes of one machine; the lock of a killed process is released."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ml_pipeline.core.errors import PipelineError

Lock = FileLock
"""An acquired lock."""


def acquire(path: Path, *, timeout: float = -1, busy: PipelineError | None = None) -> Lock:
    """Acquire the lock on a file, which the caller releases.

    Args:
        path: Of the file, in a folder that exists; it is left behind.
        timeout: Seconds to wait for another process; -1 waits as long as that takes.
        busy: Raised when another process still holds it.

    Raises:
        PipelineError: ``busy``.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        if busy is None:
            raise
        raise busy from None
    return lock


@contextmanager
def locked(path: Path, *, timeout: float = -1, busy: PipelineError | None = None) -> Iterator[None]:
    """Hold the lock on a file for a block. Arguments and errors are those of :func:`acquire`."""
    lock = acquire(path, timeout=timeout, busy=busy)
    try:
        yield
    finally:
        lock.release()
