"""How long files of a prediction log are kept: by number, by total size and by age.

The server applies it when it begins a file, ``ml-pipeline monitor`` after each look. Every removed
file is added to the list of ``ml_pipeline.serving.removed_files``, so that the reader of the log
reports what it had not read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_pipeline.serving import removed_files

DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class Retention:
    """The oldest files beyond any of these limits are removed."""

    keep: int = 16
    """Files of JSON lines."""
    keep_days: float | None = None
    """Days since a file was written to last."""
    total_bytes: int | None = None
    """Bytes of all files."""


def remove_expired(
    files: Sequence[Path], retention: Retention, *, now: float, new: int = 0, new_bytes: int = 0
) -> list[Path]:
    """Remove files beyond the limits, and return them.

    Args:
        files: of a log, the oldest first.
        retention: the limits.
        now: seconds since the epoch.
        new: files that are about to be created; room is made for them.
        new_bytes: bytes that they will have.

    Raises:
        OSError: a file cannot be removed.
    """
    known = []
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # removed by another process meanwhile
            known.append((path, path.stat()))
    expired = dict.fromkeys(path for path, _ in known[: max(0, len(known) + new - retention.keep)])
    if retention.keep_days is not None:
        oldest = now - retention.keep_days * DAY_SECONDS
        expired |= dict.fromkeys(path for path, stat in known if stat.st_mtime < oldest)
    if retention.total_bytes is not None:
        room = retention.total_bytes - new_bytes
        for place, (path, stat) in enumerate(reversed(known)):
            room -= stat.st_size
            if room < 0 and (place or new):
                expired[path] = None
    removed = [path for path, _ in known if path in expired]
    for path in removed:
        removed_files.remove(path)
    return removed
