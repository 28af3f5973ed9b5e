"""A small model in use: its bundle with reference rows, a prediction log, and looks at it."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from ml_pipeline.config import Project
from ml_pipeline.core import artefacts
from ml_pipeline.core.home import Home
from ml_pipeline.gate.expected_performance import ExpectedPerformance
from ml_pipeline.monitoring.live_traffic import Traffic
from ml_pipeline.monitoring.look import Look, LookResult
from ml_pipeline.monitoring.monitored_model import MonitoredModel
from ml_pipeline.monitoring.performance_tracker import PerformanceTracker
from ml_pipeline.monitoring.state import MonitorFolder
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.promotion.production_history import Entry
from ml_pipeline.serving.prediction_log import LoggedModel, LoggedRequest

FIRST = datetime(2026, 5, 1, 6, tzinfo=UTC)
"""The day of the first look."""
SERVING = Traffic({"1": {200: 10}}, {200: 10.0}, 1)
"""One server that responds, and refused nothing."""


def rows(count: int, seed: int, *, shift: float = 0.0) -> list[list[Any]]:
    """Return rows as clients send them: a standard normal number, and north or south."""
    generator = np.random.default_rng(seed)
    numbers = generator.normal(size=count) + shift
    words = np.where(generator.random(count) < 0.5, "north", "south")
    return [[float(x), str(c)] for x, c in zip(numbers, words, strict=True)]


def predicted(values: list[list[Any]]) -> list[float]:
    """Return what the model of ``write_bundle`` predicts for rows without missing values."""
    scores = [(x or 0.0) + {"north": 0.5, "south": -0.5}.get(c, 0.0) for x, c in values]
    return [float(1 / (1 + np.exp(-score))) for score in scores]


def reference_file(count: int = 10_000, days: int = 500) -> bytes:
    """Return training rows of so many days, with the model's predictions."""
    values = rows(count, seed=1)
    frame = pd.DataFrame(values, columns=["x", "c"])
    frame["__probability"] = predicted(values)
    frame[artefacts.UNIT_COLUMN] = np.arange(count) // (count // days) + 20_000
    content = io.BytesIO()
    frame.to_parquet(content, index=False)
    return content.getvalue()


@dataclass
class InUse:
    """A model in use; each day adds a file to its log, each look comes at the end of a day."""

    project: Project
    home: Home
    bundle: Path
    version: int = 1
    traffic: Traffic = SERVING
    looks: int = 0
    history: tuple[Entry, ...] = ()
    expected: dict[str, ExpectedPerformance] = field(default_factory=dict)
    """By the digest of a bundle."""
    _names: Any = field(default_factory=itertools.count)

    @property
    def log(self) -> Path:
        return self.home / "predictions/production"

    @property
    def folder(self) -> MonitorFolder:
        return MonitorFolder.of(self.home, "production")

    @property
    def model(self) -> MonitoredModel:
        return MonitoredModel.open(self.bundle, self.version)

    def serve(self, day: int, values: list[list[Any]], **entry: Any) -> Path:
        """Write a file of the log with a request for each row, evenly over a day."""
        self.log.mkdir(parents=True, exist_ok=True)
        model = self.model.bundle
        header = LoggedModel("small", self.version, model.digest, list(model.schema.names))
        start = (FIRST + timedelta(days=day)).timestamp()
        lines = [
            LoggedRequest(
                f"r{day}-{place}",
                start + place * 36_000 / len(values),
                self.version,
                [row],
                probability=[prediction],
                **entry,
            )
            for place, (row, prediction) in enumerate(zip(values, predicted(values), strict=True))
        ]
        number = next(self._names)
        path = self.log / f"20260501T000000.{number:06d}Z-{number:06x}.jsonl"
        path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in (header, *lines)))
        return path

    def look(self, day: int, *, run_id: str | None = None) -> LookResult:
        """Look at it at the end of a day."""
        self.looks += 1
        model = self.model
        problem = load_problem(self.project.config.problem, self.project.root)
        with self.folder.locked():
            return Look(
                self.folder,
                self.project.config,
                problem,
                model,
                self.log,
                self.traffic,
                run_id or f"run-{self.looks}",
                FIRST + timedelta(days=day, hours=12),
                lambda what, share: None,
                lambda number: PerformanceTracker.open(
                    self.folder.root,
                    number,
                    self.project,
                    problem,
                    model.bundle,
                    self.version,
                    self.home,
                    self.history,
                    self.expected.get,
                ),
            ).run()
