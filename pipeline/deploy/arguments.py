"""What a server is started with, of the configuration's section ``serving``."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import ServingSection
from pipeline.deploy.base import Placement
from pipeline.home import Home


def limits(serving: ServingSection) -> list[str]:
    """Return the arguments that are the same wherever the server runs."""
    return [
        *("--max-body", str(serving.max_body), "--max-rows", str(serving.max_rows)),
        *("--max-queue", str(serving.max_queue), "--max-seconds", str(serving.max_seconds)),
        *("--log-requests", str(serving.log_requests)),
    ]


def prediction_folder(serving: ServingSection, home: Home, environment: str) -> Path:
    """Return where the servers of an environment log their predictions."""
    return (serving.prediction_log.folder or home / "predictions") / environment


def prediction_log(placement: Placement) -> list[str]:
    """Return the arguments of the prediction log; none where it is off."""
    serving, log = placement.serving, placement.serving.prediction_log
    if not log.enabled:
        return []
    folder = prediction_folder(serving, placement.home, placement.name).absolute()
    sizes = ["--predictions-bytes", str(log.max_bytes), "--predictions-keep", str(log.keep)]
    return ["--predictions", str(folder), *sizes]
