"""Arguments of the server from the configuration's section ``serving``."""

from __future__ import annotations

import json
from pathlib import Path, PurePath

from ml_pipeline.config import EnvironmentSection, ServingSection
from ml_pipeline.core.home import Home
from ml_pipeline.serving.log_retention import Retention
from ml_pipeline.targets.base import Placement

LOG_VOLUME = "/var/lib/ml-pipeline"
"""Mount point of the only writable volume of a server's container."""
LOG_NAME = "predictions"
LOG_FOLDER = PurePath(LOG_VOLUME, LOG_NAME)
"""Folder of the prediction log in a container."""


SCRATCH = "/run/ml-pipeline-scratch"
"""The feature worker's writable folder in a container, in memory."""
SCRATCH_MIB = 64
RESERVED_MIB = 256
"""Memory of a container reserved for the server itself and the scratch folder."""
MIN_WORKER_MIB = 256
UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def limit_arguments(serving: ServingSection) -> list[str]:
    """Return the arguments with limits, which are the same for all targets."""
    return [
        *("--max-body", str(serving.max_body), "--max-rows", str(serving.max_rows)),
        *("--max-queue", str(serving.max_queue), "--max-seconds", str(serving.max_seconds)),
        *("--log-requests", str(serving.log_requests)),
    ]


def raw_rows_arguments(
    environment: str, section: EnvironmentSection, serving: ServingSection
) -> list[str]:
    """Return the arguments about raw rows."""
    raw = serving.raw
    if not raw.enabled:
        return ["--no-raw"]
    environment_arguments = ["--environment", environment]
    if not section.raw_rows:
        return [*environment_arguments, "--raw-off"]
    return [
        *environment_arguments,
        *("--raw-rows", str(raw.max_rows), "--raw-queue", str(raw.max_queue)),
        *("--raw-seconds", str(raw.max_seconds)),
    ]


def computes_features(section: EnvironmentSection, serving: ServingSection) -> bool:
    """Whether a server of this environment computes features of raw rows."""
    return section.raw_rows and serving.raw.enabled


def worker_arguments(section: EnvironmentSection, serving: ServingSection) -> list[str]:
    """Return the arguments with the feature worker's memory and folder in a container."""
    if not computes_features(section, serving):
        return []
    mebibytes = max(MIN_WORKER_MIB, (memory_bytes(section) >> 20) - RESERVED_MIB)
    return ["--raw-memory", str(mebibytes << 20), "--raw-scratch", SCRATCH]


def memory_bytes(section: EnvironmentSection) -> int:
    """Return the memory limit of a container in bytes."""
    text = section.memory_limit
    return int(text[:-1]) * UNITS[text[-1]]


def prediction_folder(serving: ServingSection, home: Home, environment: str) -> Path:
    """Return the folder of an environment's prediction log."""
    return (serving.prediction_log.folder or home / "predictions") / environment


def log_folder(placement: Placement) -> Path:
    """Return the absolute folder of a placement's prediction log on this machine."""
    return prediction_folder(placement.serving, placement.home, placement.name).absolute()


def prediction_log_arguments(serving: ServingSection, folder: PurePath) -> list[str]:
    """Return the arguments of the prediction log in ``folder``; none if it is disabled."""
    log = serving.prediction_log
    if not log.enabled:
        return []
    sizes = ["--predictions-bytes", str(log.max_bytes), "--predictions-keep", str(log.keep)]
    sizes += [] if log.keep_days is None else ["--predictions-days", str(log.keep_days)]
    sizes += [] if log.total_bytes is None else ["--predictions-total", str(log.total_bytes)]
    redact = ["--redact", json.dumps(serving.redact, sort_keys=True)] if serving.redact else []
    return ["--predictions", str(folder), *sizes, *redact]


def hashes_features(serving: ServingSection) -> bool:
    """Whether servers need the key of ``serving.redact``."""
    return serving.prediction_log.enabled and "hash" in serving.redact.values()


def retention(serving: ServingSection, servers: int = 1) -> Retention:
    """Return how long files of the prediction log are kept.

    Args:
        serving: the configuration.
        servers: whose logs are in one folder, each with the limits of the configuration.
    """
    log = serving.prediction_log
    total = None if log.total_bytes is None else servers * log.total_bytes
    return Retention(keep=servers * log.keep, keep_days=log.keep_days, total_bytes=total)
