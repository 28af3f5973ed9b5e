"""What a server is started with, of the configuration's section ``serving``."""

from __future__ import annotations

from pathlib import Path, PurePath

from ml_pipeline.config import EnvironmentSection, ServingSection
from ml_pipeline.core.home import Home
from ml_pipeline.targets.base import Placement

LOG_VOLUME = "/var/lib/ml-pipeline"
"""Where a container has the volume that its server may write to; all else is read-only."""
LOG_NAME = "predictions"
LOG_FOLDER = PurePath(LOG_VOLUME, LOG_NAME)
"""Of the prediction log in a container."""


SCRATCH = "/run/ml-pipeline-scratch"
"""Where a container that answers raw rows has its only other writable folder, in memory."""
SCRATCH_MIB = 64
SERVER_MIB = 256
"""Of a container's memory, what the server itself and the scratch folder may need."""
LEAST_WORKER_MIB = 256
UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def limits(serving: ServingSection) -> list[str]:
    """Return the arguments that are the same wherever the server runs."""
    return [
        *("--max-body", str(serving.max_body), "--max-rows", str(serving.max_rows)),
        *("--max-queue", str(serving.max_queue), "--max-seconds", str(serving.max_seconds)),
        *("--log-requests", str(serving.log_requests)),
    ]


def raw_rows(environment: str, section: EnvironmentSection, serving: ServingSection) -> list[str]:
    """Return the arguments about rows before features."""
    raw = serving.raw
    if not raw.enabled:
        return ["--no-raw"]
    own = ["--environment", environment]
    if not section.raw_rows:
        return [*own, "--raw-off"]
    return [
        *own,
        *("--raw-rows", str(raw.max_rows), "--raw-queue", str(raw.max_queue)),
        *("--raw-seconds", str(raw.max_seconds)),
    ]


def computes_features(section: EnvironmentSection, serving: ServingSection) -> bool:
    """Whether a server of this environment computes features of raw rows."""
    return section.raw_rows and serving.raw.enabled


def worker_bounds(section: EnvironmentSection, serving: ServingSection) -> list[str]:
    """Return the arguments with the memory and the folder that a container leaves to the worker."""
    if not computes_features(section, serving):
        return []
    mebibytes = max(LEAST_WORKER_MIB, (memory_bytes(section) >> 20) - SERVER_MIB)
    return ["--raw-memory", str(mebibytes << 20), "--raw-scratch", SCRATCH]


def memory_bytes(section: EnvironmentSection) -> int:
    """Return the most that a container may take."""
    text = section.memory_limit
    return int(text[:-1]) * UNITS[text[-1]]


def prediction_folder(serving: ServingSection, home: Home, environment: str) -> Path:
    """Return where the servers of an environment log their predictions."""
    return (serving.prediction_log.folder or home / "predictions") / environment


def log_folder(placement: Placement) -> Path:
    """Return the absolute folder of a placement's prediction log on this machine."""
    return prediction_folder(placement.serving, placement.home, placement.name).absolute()


def prediction_log(serving: ServingSection, folder: PurePath) -> list[str]:
    """Return the arguments of the prediction log in ``folder``; none where it is off."""
    log = serving.prediction_log
    if not log.enabled:
        return []
    sizes = ["--predictions-bytes", str(log.max_bytes), "--predictions-keep", str(log.keep)]
    return ["--predictions", str(folder), *sizes]
