"""Removes files of a prediction log, and their archives, that a look has read and that expired."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.monitoring import archived_log
from ml_pipeline.serving import log_retention, prediction_log
from ml_pipeline.serving.log_retention import Retention


def remove_expired_logs(folder: Path, retention: Retention, now: float) -> list[Path]:
    """Remove what is older than ``keep_days`` or beyond ``total_bytes``, and return it.

    The number of files is left to the servers. A file that got requests after the look read it is
    reported as a gap by the next one.

    Raises:
        EnvironmentFault: a file cannot be removed.
    """
    files = [*prediction_log.files(folder), *archived_log.files(folder)]
    files.sort(key=lambda path: path.stem)
    limits = dataclasses.replace(retention, keep=len(files))
    try:
        return log_retention.remove_expired(files, limits, now=now)
    except OSError as error:
        raise EnvironmentFault(
            f"the prediction log in {folder} cannot be cleaned up: {error.strerror}",
            expected="a folder whose files can be removed",
        ) from None
