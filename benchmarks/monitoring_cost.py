"""Time and memory of one look at a million rows of 50 features, in a process of its own.

The rows come in batches of 100,000, as the prediction log is read; making them is not counted.
Prints JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np
from ml_pipeline.config.monitor import MonitorSection
from ml_pipeline.monitoring.feature_drift import MonitoredFeature, judge_features
from ml_pipeline.statistics.alarm_budget import false_alarm_rate
from ml_pipeline.statistics.drift_test import FeatureReference, UnitSummary

ROWS, BATCH, DAYS = 1_000_000, 100_000, 28
NUMBERS, CATEGORIES = 40, 10
REFERENCE_ROWS = 10_000


def columns(random: np.random.Generator, rows: int) -> list[np.ndarray]:
    names = np.array([f"category {code}" for code in range(30)], dtype=object)
    numbers = list(random.normal(size=(NUMBERS, rows)))
    return [*numbers, *(names[random.integers(0, 30, rows)] for _ in range(CATEGORIES))]


def main() -> None:
    random = np.random.default_rng(3)
    units = np.arange(REFERENCE_ROWS) // 20
    references = [
        (FeatureReference.numeric if place < NUMBERS else FeatureReference.categorical)(
            f"f{place}", values, units
        )
        for place, values in enumerate(columns(random, REFERENCE_ROWS))
    ]
    summaries: list[UnitSummary | None] = [None] * len(references)
    seconds = 0.0
    for start in range(0, ROWS, BATCH):
        rows = columns(random, BATCH)
        days = 1_000 + np.arange(start, start + BATCH) * DAYS // ROWS
        started = time.perf_counter()
        for place, (reference, values) in enumerate(zip(references, rows, strict=True)):
            new, old = reference.summarize(values, days), summaries[place]
            summaries[place] = new if old is None else old.merge(new)
        seconds += time.perf_counter() - started
    started = time.perf_counter()
    verdicts = judge_features(
        [
            MonitoredFeature(reference, summary, 1_000)
            for reference, summary in zip(references, summaries, strict=True)
            if summary is not None
        ],
        today=1_000 + DAYS - 1,
        elapsed_days=1,
        budget=false_alarm_rate(1),
        min_rows=MonitorSection().min_rows,
    )
    judged = time.perf_counter() - started
    found = {
        "rows": ROWS,
        "features": len(verdicts),
        "seconds": seconds + judged,
        "judge_seconds": judged,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
