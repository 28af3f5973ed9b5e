"""The whole ``run ci`` of the example against the same work as bare scripts.

Goals: at most 1.2 times the bare scripts' time, and the same figures found by both.

The bare scripts (benchmarks/bare_ci) are what a Jenkinsfile would call without this package: ruff,
pytest with coverage, and one Python process for each of validation, training, evaluation and
packaging, with pytest between them for the tests of data and model. Both sides run in copies of
examples/nepse, in turn, after one run each that is not counted.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import machine

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "nepse"
BARE = Path(__file__).resolve().parent / "bare_ci"
TOOLS = Path(sys.executable).parent
RUNS = 5
GOAL = 1.2
SAME = 1e-4
"""Largest difference between both sides' value of a metric on the holdout."""

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:ml-pipeline")
BARE_PYTEST = (*PYTEST, "-p", "bare_fixtures")
SCRIPTS: Mapping[str, Sequence[Sequence[str]]] = {
    "lint": (
        (str(TOOLS / "ruff"), "check", "--output-format=json", "."),
        (str(TOOLS / "ruff"), "format", "--check", "."),
    ),
    "test": (
        (
            *PYTEST,
            "tests/unit",
            "--cov=features",
            "--cov-report=xml:build/bare/coverage.xml",
            "--cov-fail-under=80",
            "--junitxml=build/bare/test.xml",
        ),
    ),
    "validate-data": (
        (sys.executable, str(BARE / "validate.py")),
        (*BARE_PYTEST, "tests/data", "--junitxml=build/bare/data.xml"),
    ),
    "train": ((sys.executable, str(BARE / "train.py")),),
    "evaluate": (
        (sys.executable, str(BARE / "evaluate.py")),
        (*BARE_PYTEST, "tests/model", "--junitxml=build/bare/model.xml"),
    ),
    "package": ((sys.executable, str(BARE / "package.py")),),
}
"""What is called in place of each stage."""

REST = "start and end"


@dataclass(frozen=True)
class Run:
    """Wall time of one run and of its stages, and the processor time of it all, in seconds."""

    wall: float
    cpu: float
    stages: Mapping[str, float]


def copy_of_example(folder: Path) -> Path:
    left_out = shutil.ignore_patterns("build", ".ml", "__pycache__", ".ruff_cache", ".pytest_cache")
    shutil.copytree(EXAMPLE, folder, ignore=left_out)
    return folder


def called(command: Sequence[str], folder: Path, **environment: str) -> float:
    """Run a command that must succeed; return its wall time."""
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}\n{done.stdout.decode()}"
        )
    return seconds


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_ours(folder: Path) -> Run:
    before = cpu_of_children()
    wall = called((str(TOOLS / "ml-pipeline"), "run", "ci"), folder)
    stages = {}
    for name in SCRIPTS:
        report = json.loads((folder / f"build/ml/reports/{name}.json").read_text())
        ends = [datetime.fromisoformat(report[key]) for key in ("started", "finished")]
        stages[name] = (ends[1] - ends[0]).total_seconds()
    return Run(wall, cpu_of_children() - before, stages | {REST: wall - sum(stages.values())})


def run_bare(folder: Path) -> Run:
    before = cpu_of_children()
    path = os.pathsep.join([str(folder), str(BARE)])
    environment = {"PYTHONPATH": path, "COVERAGE_FILE": "build/bare/.coverage"}
    stages = {
        name: sum(called(command, folder, **environment) for command in commands)
        for name, commands in SCRIPTS.items()
    }
    return Run(sum(stages.values()), cpu_of_children() - before, stages)


def differences(ours: Path, bare: Path) -> list[str]:
    """Return what the two sides do not agree on: rows and every metric of every predictor."""

    def report(name: str) -> Any:
        return json.loads((ours / f"build/ml/reports/{name}.json").read_text())["metrics"]

    def found(name: str) -> Any:
        return json.loads((bare / f"build/bare/{name}.json").read_text())

    data, profile = report("validate-data"), found("profile")
    pairs = {
        "clean rows": (data["rows_clean"], profile["rows"]),
        "quarantined rows": (data["rows_quarantined"], profile["quarantined"]),
        "blanked cells": (sum(data["blanked"].values()), profile["blanked"]),
        "training rows": (
            report("train")["rows"]["train"],
            found("model/training")["rows"]["train"],
        ),
    }
    measured, evaluation = report("evaluate")["models"], found("evaluation")["models"]
    pairs["predictors"] = (sorted(measured), sorted(evaluation))
    for predictor in measured.keys() & evaluation.keys():
        for metric, value in measured[predictor].items():
            pairs[f"{predictor} {metric}"] = (
                value["value"],
                evaluation[predictor][metric]["value"],
            )
    return [
        f"{name}: {here} and {there}"
        for name, (here, there) in pairs.items()
        if (not abs(here - there) <= SAME if isinstance(here, float) else here != there)
    ]


def median(runs: Sequence[Run], stage: str) -> float:
    return statistics.median(run.stages.get(stage, 0.0) for run in runs)


def main() -> int:
    options = machine.arguments(__doc__)
    with tempfile.TemporaryDirectory(prefix="ml-benchmark-") as name:
        folders = [copy_of_example(Path(name) / side) for side in ("ours", "bare")]
        runs: list[list[Run]] = [[], []]
        for number in range(RUNS + 1):
            for side, run in enumerate((run_ours, run_bare)):
                done = run(folders[side])
                if number:
                    runs[side].append(done)
        apart = differences(*folders)
    walls = [statistics.median(run.wall for run in side) for side in runs]
    cpus = [statistics.median(run.cpu for run in side) for side in runs]
    ratio = walls[0] / walls[1]
    rows = []
    for stage in (*SCRIPTS, REST):
        here, there = (median(side, stage) for side in runs)
        share = f"{here / walls[0]:.0%}"
        bare = (f"{there:.2f}", f"{here / there:.2f}") if there else ("", "")
        rows.append((stage, f"{here:.2f}", share, *bare))
    rows += [
        ("whole run", f"{walls[0]:.2f}", "", f"{walls[1]:.2f}", f"{ratio:.2f}"),
        ("processor time", f"{cpus[0]:.2f}", "", f"{cpus[1]:.2f}", f"{cpus[0] / cpus[1]:.2f}"),
    ]
    header = ("stage", "run ci (s)", "share", "bare scripts (s)", "ratio")
    about = machine.describe(
        "great_expectations", "pandas", "xgboost", "scikit-learn", "onnxruntime", "pytest", "ruff"
    )
    machine.show(f"run ci, medians of {RUNS}", header, rows, about)
    for line in apart:
        print(f"not the same: {line}")
    figures = {
        "benchmark": "ci",
        "machine": about,
        "runs": [{"wall": run.wall, "cpu": run.cpu, "stages": dict(run.stages)} for run in runs[0]],
        "bare_runs": [
            {"wall": run.wall, "cpu": run.cpu, "stages": dict(run.stages)} for run in runs[1]
        ],
        "ratio": ratio,
        "differences": apart,
    }
    goals = {f"at most {GOAL} times the bare scripts": ratio <= GOAL, "same figures": not apart}
    return machine.finish(options.json, figures, goals)


if __name__ == "__main__":
    raise SystemExit(main())
