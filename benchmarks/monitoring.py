"""False alarms, power and cost of monitoring, against evidently, PSI limits and river's detectors.

Worlds of 50 features in which nothing changes, looked at weekly or daily for a year, and worlds in
which one feature drifts. All judge the same worlds; river, which needs the rows themselves, judges
fewer of them. Goals: at most one alarm a year in at least 95 % of the worlds without drift, in each
cell; a look at 50 features of a million rows within 5 s and 1 GiB. The worlds are those of
``monitoring_peers/worlds.py``.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import machine
import monitoring_years
from monitoring_years import DATASET, RULES, worlds

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks/monitoring_peers"
ENVIRONMENTS = ROOT / "build/benchmarks/monitoring"

SIZES = (100, 1_000, 10_000, 100_000)
LOOK_DAYS = {"weekly": 7, "daily": 1}
WORLDS = 20
DRIFT_SIZES = (100, 1_000, 10_000)
DRIFT_WORLDS = 20
MOST_ALARMS, SHARE_OF_YEARS = 1, 0.95
SECONDS, MEGABYTES = 5.0, 1024

OURS = "ml-pipeline"
DETECTORS = ("ADWIN", "Page-Hinkley", "KSWIN")
RIVER_WORLDS = {100: 8, 1_000: 4, 10_000: 2}
KSWIN_ROWS = 1_000
"""It takes 0.2 ms a row, so it gets no larger looks."""

Cell = tuple[str, str, int]
Scenario = tuple[str, int]


def main() -> int:
    options = machine.arguments(__doc__)
    cost = output_of(sys.executable, ROOT / "benchmarks/monitoring_cost.py")
    reports = output_of(environment("evidently"), PEERS / "evidently_reports.py")
    river_python = environment("river")
    alarms, checked, missed = without_drift()
    found = with_drift()
    for task in output_of(
        river_python, PEERS / "river_detectors.py", json.dumps(river_plan(alarms, found))
    ):
        if "drift" in task:
            days = [None if looks is None else looks * 7 for looks in task["found"]]
            found[task["drift"], task["rows"]][task["detector"]] = days
        else:
            cell = (task["kind"], task["look"], task["rows"])
            alarms[cell][task["detector"]] = task["found"]
    versions = {
        name: version(environment(name), name) for name in ("evidently", "river")
    } | machine.describe("numpy", "scipy")
    show_alarms(alarms, versions)
    show_delays(found, versions)
    evidently = reports["cost"]
    sys.stdout.write(
        f"50 features x {cost['rows']:,} rows: {cost['seconds']:.1f} s, {cost['peak_mb']:.0f} MB "
        f"(evidently: {evidently['rows']:,} rows in {evidently['seconds']:.1f} s, "
        f"{evidently['peak_mb']:.0f} MB)\n"
        f"{checked:,} looks that were not near an alarm were judged too: {missed} alarmed\n"
        f"{reports['reports']} reports of evidently: the largest difference of a distance to that "
        f"from counts is {reports['largest_difference']:.1g}\n"
    )
    goals = {
        f"{kind}, {look}, {rows:,} rows: at most {MOST_ALARMS} alarm in {SHARE_OF_YEARS:.0%} of "
        "years": share_of_years(of_cell[OURS]) >= SHARE_OF_YEARS
        for (kind, look, rows), of_cell in alarms.items()
    }
    goals |= {
        "no alarm in looks that were taken as far from one": missed == 0,
        "evidently's reports agree with its rules from counts": reports["verdicts_agree"]
        and reports["largest_difference"] < 1e-9,
        f"a million rows within {SECONDS:g} s": cost["seconds"] <= SECONDS,
        f"a million rows within {MEGABYTES} MB": cost["peak_mb"] <= MEGABYTES,
    }
    figures = {
        "alarms": [
            {"kind": kind, "look": look, "rows": rows, "alarms": of_cell}
            for (kind, look, rows), of_cell in alarms.items()
        ],
        "days_to_alarm": [
            {"drift": drift, "rows_a_week": rows, "days": days}
            for (drift, rows), days in found.items()
        ],
        "cost": cost,
        "evidently_reports": reports,
        "checked": checked,
        "versions": versions,
    }
    return machine.finish(options.json, figures, goals)


# --- the measurements -----------------------------------------------------------------------------


def without_drift() -> tuple[dict[Cell, dict[str, list[int]]], int, int]:
    """Return the alarms of each world by cell and method, looks checked beside, and missed."""
    alarms: dict[Cell, dict[str, list[int]]] = {}
    checked = missed = 0
    with ProcessPoolExecutor() as pool:
        running: dict[Cell, list[Future[monitoring_years.Year]]] = {
            (kind, look, rows): [
                pool.submit(monitoring_years.year_without_drift, kind, rows, days, seed)
                for seed in range(WORLDS)
            ]
            for kind in worlds.KINDS
            for look, days in LOOK_DAYS.items()
            for rows in SIZES
        }
        for cell, futures in running.items():
            of_cell = defaultdict(list)
            for future in futures:
                year = future.result()
                checked += year.checked
                missed += year.missed
                for name, count in year.alarms.items():
                    of_cell[name].append(count)
            alarms[cell] = dict(of_cell)
    return alarms, checked, missed


def with_drift() -> dict[Scenario, dict[str, list[int | None]]]:
    """Return the days to the alarm in each world, by drift, rows a week and method."""
    found: dict[Scenario, dict[str, list[int | None]]] = {}
    with ProcessPoolExecutor() as pool:
        running = {
            (drift.name, rows): [
                pool.submit(monitoring_years.delays, worlds.DAY_EFFECTS, rows, drift, seed)
                for seed in range(DRIFT_WORLDS)
            ]
            for drift in worlds.DRIFTS
            for rows in DRIFT_SIZES
        }
        for scenario, futures in running.items():
            results = [future.result() for future in futures]
            found[scenario] = {name: [days[name] for days in results] for name in results[0]}
    return found


def river_plan(
    cells: Sequence[Cell] | dict[Cell, Any], scenarios: Sequence[Scenario] | dict[Scenario, Any]
) -> list[dict[str, Any]]:
    """Return what river's detectors are to be measured on."""
    plan: list[dict[str, Any]] = []
    for detector in DETECTORS:
        most = KSWIN_ROWS if detector == "KSWIN" else max(RIVER_WORLDS)
        common = {"detector": detector, "seed": 1}
        for kind, look, rows in cells:
            if rows <= most and not (rows == max(RIVER_WORLDS) and look == "daily"):
                looks = {"look_days": LOOK_DAYS[look], "looks": 365 // LOOK_DAYS[look]}
                cell = {"kind": kind, "look": look, "rows": rows, "worlds": RIVER_WORLDS[rows]}
                plan.append(common | cell | looks)
        weeks = (monitoring_years.QUIET_DAYS + monitoring_years.DRIFT_DAYS) // 7
        for drift, rows in scenarios:
            if rows <= most:
                plan.append(
                    common
                    | {"kind": worlds.DAY_EFFECTS, "drift": drift, "rows": rows}
                    | {"looks": weeks, "look_days": 7, "starts": monitoring_years.QUIET_DAYS}
                    | {"worlds": RIVER_WORLDS[rows]}
                )
    return plan


def share_of_years(alarms: Sequence[int]) -> float:
    return sum(count <= MOST_ALARMS for count in alarms) / len(alarms)


# --- the peers ------------------------------------------------------------------------------------


def environment(name: str) -> Path:
    """Return the Python of a peer's own environment, which is made on the first run."""
    folder = ENVIRONMENTS / name
    python = folder / "bin/python"
    lock = PEERS / f"{name}.txt"
    stamp = folder / "lock"
    if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--no-deps", "--require-hashes", "-r", str(lock)], check=True)
        stamp.write_bytes(lock.read_bytes())
    return python


def output_of(python: str | Path, script: Path, *arguments: str) -> Any:
    command = [str(python), str(script), *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def version(python: Path, name: str) -> str:
    code = f"from importlib.metadata import version; print(version({name!r}))"
    done = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


# --- the tables -----------------------------------------------------------------------------------


def show_alarms(alarms: dict[Cell, dict[str, list[int]]], versions: dict[str, str]) -> None:
    methods = (OURS, "evidently", DATASET, *list(RULES)[:2], *DETECTORS)
    rows = []
    for (kind, look, size), of_cell in alarms.items():
        shown = []
        for method in methods:
            counts = of_cell.get(method)
            if counts is None:
                shown.append("")
            elif method in DETECTORS:  # they stop at the second alarm
                shown.append(f"{share_of_years(counts):.0%}")
            else:
                shown.append(f"{share_of_years(counts):.0%} ({statistics.mean(counts):.3g})")
        rows.append((kind, look, f"{size:,}", *shown))
    title = "years without drift with at most one alarm (alarms a year)"
    machine.show(title, ("world", "looks", "rows", *methods), rows, versions)


def show_delays(
    found: dict[Scenario, dict[str, list[int | None]]], versions: dict[str, str]
) -> None:
    daily = f"{OURS}, daily"
    methods = (OURS, daily, "evidently", *list(RULES)[:2], *DETECTORS)
    rows = []
    for (drift, size), of_scenario in found.items():
        shown = []
        for method in methods:
            delays = of_scenario.get(method)
            if delays is None:
                shown.append("")
                continue
            seen = [days for days in delays if days is not None]
            median = f", {statistics.median(seen):.0f} days" if seen else ""
            shown.append(f"{len(seen) / len(delays):.0%}{median}")
        rows.append((drift, f"{size:,}", *shown))
    title = "drifts that were found within 26 weeks, and after how many days (median)"
    machine.show(title, ("drift", "rows a week", *methods), rows, versions)


if __name__ == "__main__":
    raise SystemExit(main())
