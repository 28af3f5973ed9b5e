"""Run evidently's own reports on a look of each world; run in evidently's environment.

Prints as JSON the largest difference to the distances that ``rules.py`` has from counts, over all
columns and looks, whether the verdicts agree, and what a report costs.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import rules
import worlds
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
from worlds import DRIFTS, FEATURES, NO_DRIFT, World

SIZES = (100, 1_000, 10_000)
COLUMNS = 5
COST_ROWS = 100_000


def report(current: pd.DataFrame, reference: pd.DataFrame) -> dict[str, Any]:
    definition = DataDefinition(
        numerical_columns=[name for name in reference if reference[name].dtype == float],
        categorical_columns=[name for name in reference if reference[name].dtype != float],
    )
    sets = [Dataset.from_pandas(each, data_definition=definition) for each in (current, reference)]
    found: dict[str, Any] = Report([DataDriftPreset()]).run(*sets).dict()
    return found


def compare(world: World, random: np.random.Generator) -> tuple[float, bool]:
    """Return the largest difference of a distance, and whether all verdicts agree."""
    frames: list[dict[str, Any]] = [{}, {}]
    own = {}
    for number in range(COLUMNS):
        drifts = number == 0 and world.drift is not NO_DRIFT
        categorical = drifts and world.drift.categorical
        counts = []
        for each, frame in zip((world.reference(), world), frames, strict=True):
            of_days = worlds.value_counts(each, random, drifts=drifts)
            support = worlds.VALUES
            if categorical:
                of_days = worlds.category_counts(each, of_days, random)
                support = np.array([f"c{code}" for code in range(worlds.NEW_CATEGORY + 1)])
            counts.append(of_days.sum(axis=0))
            frame[f"f{number}"] = random.permutation(np.repeat(support, counts[-1]))
        own[f"f{number}"] = rules.evidently(counts[0], counts[1][None], categorical=categorical)[0]
    # Days of repeated rows are of unequal length from feature to feature: a table needs equal ones.
    for frame in frames:
        shortest = min(len(rows) for rows in frame.values())
        if any(len(rows) != shortest for rows in frame.values()):
            raise SystemExit("worlds to compare must have equal rows in all features")
    found = report(pd.DataFrame(frames[1]), pd.DataFrame(frames[0]))
    dataset, *columns = found["metrics"]
    distances = {each["config"]["column"]: float(each["value"]) for each in columns}
    apart = max(abs(distances[name] - value) for name, value in own.items())
    drifted = sum(value >= rules.EVIDENTLY_LIMIT for value in own.values())
    return apart, int(dataset["value"]["count"]) == drifted


def main() -> None:
    random = np.random.default_rng(5)
    found = [
        compare(World(kind, np.array([size]), drift), random)
        for size in SIZES
        for kind in (worlds.INDEPENDENT, worlds.DAY_EFFECTS)
        for drift in (NO_DRIFT, DRIFTS[1], DRIFTS[3])
    ]
    columns = [f"f{number}" for number in range(FEATURES)]
    reference = pd.DataFrame(random.normal(size=(10_000, FEATURES)), columns=columns)
    current = pd.DataFrame(random.normal(size=(COST_ROWS, FEATURES)), columns=columns)
    started = time.perf_counter()
    report(current, reference)
    seconds = time.perf_counter() - started
    json.dump(
        {
            "reports": len(found),
            "largest_difference": max(apart for apart, _ in found),
            "verdicts_agree": all(agree for _, agree in found),
            "cost": {
                "rows": COST_ROWS,
                "seconds": seconds,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            },
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
