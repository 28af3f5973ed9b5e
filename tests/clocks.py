"""Fake clocks: the wall clock, and the time since boot."""

import sys
import time
from datetime import datetime

from ml_pipeline.core import clock


def set_wall_clock(monkeypatch, by):
    """Shift ``time.time`` and every module's ``datetime.now`` by ``by``."""
    seconds, real = by.total_seconds(), time.time

    class Shifted(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(real() + seconds, tz)

    monkeypatch.setattr(time, "time", lambda: real() + seconds)
    for name, module in list(sys.modules.items()):
        if name.startswith("ml_pipeline") and getattr(module, "datetime", None) is datetime:
            monkeypatch.setattr(module, "datetime", Shifted)


class Boot:
    """A machine with a fake boot id and time since boot."""

    def __init__(self, monkeypatch, boot="this", seconds=1000.0):
        self.boot, self.seconds = boot, seconds
        monkeypatch.setattr(clock, "reading", lambda: (self.boot, self.seconds))
