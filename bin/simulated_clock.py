"""A clock for servers of a demonstration: the day of the requests that are sent to them.

Python imports this file as ``sitecustomize`` in every process that is started with the folder on
PYTHONPATH. In a server it replaces ``time.time``, by which requests are dated.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from datetime import datetime
from pathlib import Path

SERVER = "ml_pipeline.serving"
DAY_FILE = "now"


class SimulatedClock:
    """The folder of a clock, and the time that it shows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(__file__, folder / "sitecustomize.py")

    @property
    def variables(self) -> dict[str, str]:
        """What the environment of a command needs, so that its servers have this clock."""
        before = os.environ.get("PYTHONPATH")
        return {"PYTHONPATH": os.pathsep.join(filter(None, (str(self._folder), before)))}

    def set(self, now: datetime) -> None:
        """Set the clock of servers that run, and of those to come."""
        temporary = self._folder / "next"
        temporary.write_text(str(now.timestamp()))
        temporary.replace(self._folder / DAY_FILE)


def _install(folder: Path) -> None:
    real = time.time

    def simulated() -> float:
        try:
            return float((folder / DAY_FILE).read_text())
        except FileNotFoundError:
            return real()

    time.time = simulated


if __name__ == "sitecustomize" and SERVER in sys.orig_argv:
    _install(Path(__file__).parent)
