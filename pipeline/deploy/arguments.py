"""What a server is started with, of the configuration's section ``serving``."""

from __future__ import annotations

from pathlib import Path, PurePath

from pipeline.config import ServingSection
from pipeline.deploy.base import Placement
from pipeline.home import Home

LOG_VOLUME = "/var/lib/ml-pipeline"
"""Where a container has the volume that its server may write to; all else is read-only."""
LOG_NAME = "predictions"
LOG_FOLDER = PurePath(LOG_VOLUME, LOG_NAME)
"""Of the prediction log in a container."""


def limits(serving: ServingSection) -> list[str]:
    """Return the arguments that are the same wherever the server runs."""
    raw = serving.raw
    raw_rows = [
        *("--raw-rows", str(raw.max_rows), "--raw-queue", str(raw.max_queue)),
        *("--raw-seconds", str(raw.max_seconds)),
    ]
    return [
        *("--max-body", str(serving.max_body), "--max-rows", str(serving.max_rows)),
        *("--max-queue", str(serving.max_queue), "--max-seconds", str(serving.max_seconds)),
        *("--log-requests", str(serving.log_requests)),
        *(raw_rows if raw.enabled else ["--no-raw"]),
    ]


def prediction_folder(serving: ServingSection, home: Home, environment: str) -> Path:
    """Return where the servers of an environment log their predictions."""
    return (serving.prediction_log.folder or home / "predictions") / environment


def log_of(placement: Placement) -> Path:
    """Return the absolute folder of a placement's prediction log on this machine."""
    return prediction_folder(placement.serving, placement.home, placement.name).absolute()


def prediction_log(serving: ServingSection, folder: PurePath) -> list[str]:
    """Return the arguments of the prediction log in ``folder``; none where it is off."""
    log = serving.prediction_log
    if not log.enabled:
        return []
    sizes = ["--predictions-bytes", str(log.max_bytes), "--predictions-keep", str(log.keep)]
    return ["--predictions", str(folder), *sizes]
