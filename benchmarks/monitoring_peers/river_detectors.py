"""Run river's drift detectors, one a feature, over the rows of a year; in river's environment.

Reads a plan as JSON from its argument and prints what it found as JSON. A world ends early once
its verdict is known: at the second alarm, or at the first after a drift.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import worlds
from river import drift
from worlds import FEATURES, World

DETECTORS: dict[str, Callable[[int], Any]] = {
    "ADWIN": lambda _: drift.ADWIN(),
    "Page-Hinkley": lambda _: drift.PageHinkley(),
    "KSWIN": lambda seed: drift.KSWIN(seed=seed),
}
"""With their defaults."""


def looks_of(days: Iterable[worlds.Floats], look_days: int) -> Iterator[list[float]]:
    for of_look in zip(*[iter(days)] * look_days, strict=True):
        yield np.concatenate(of_look).tolist()


def alarms(task: dict[str, Any], seed: int) -> int:
    """Return how many alarms the detectors of all features raised, two at most.

    Changes that one detector finds in successive looks are one alarm.
    """
    random = np.random.default_rng(seed)
    rows = worlds.rows_of_days(task["rows"], task["looks"], task["look_days"])
    world = World(task["kind"], rows)
    generators = random.spawn(FEATURES)
    features = [
        looks_of(worlds.feature_rows(world, each), task["look_days"]) for each in generators
    ]
    detectors = [DETECTORS[task["detector"]](seed + number) for number in range(FEATURES)]
    before = [False] * FEATURES
    count = 0
    for looks in zip(*features, strict=True):
        for number, values in enumerate(looks):
            found = changes(detectors[number], values)
            count += found and not before[number]
            before[number] = found
            if count > 1:
                return count
    return count


def changes(detector: Any, values: list[float]) -> bool:
    found = False
    for value in values:
        detector.update(value)
        found = found or detector.drift_detected
    return found


def delay(task: dict[str, Any], seed: int) -> int | None:
    """Return the number of the look after the drift's start in which the change was found."""
    random = np.random.default_rng(seed)
    rows = worlds.rows_of_days(task["rows"], task["looks"], task["look_days"])
    scenario = next(each for each in worlds.DRIFTS if each.name == task["drift"])
    world = World(task["kind"], rows, scenario, task["starts"])
    days = list(worlds.feature_rows(world, random, drifts=True))
    before, after = days[: task["starts"]], days[task["starts"] :]
    detector = DETECTORS[task["detector"]](seed)
    history = np.concatenate(before)
    if task["detector"] == "KSWIN":  # it looks back over no more than its window
        history = history[-2 * detector.window_size :]
    for value in history.tolist():
        detector.update(value)
    for number, values in enumerate(looks_of(after, task["look_days"]), start=1):
        for value in values:
            detector.update(value)
            if detector.drift_detected:
                return number
    return None


def run(task: dict[str, Any]) -> dict[str, Any]:
    work = delay if "drift" in task else alarms
    seeds = itertools.islice(itertools.count(task["seed"], 1000), task["worlds"])
    return task | {"found": [work(task, seed) for seed in seeds]}


def main() -> None:
    with ProcessPoolExecutor() as pool:
        json.dump(list(pool.map(run, json.loads(sys.argv[1]))), sys.stdout)


if __name__ == "__main__":
    main()
