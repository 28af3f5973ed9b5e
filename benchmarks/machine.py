"""What every benchmark says about where it ran, and how it prints and saves its table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ml_pipeline.bundle.identity import installed_version
from rich.console import Console
from rich.table import Table


def arguments(description: str | None, **numbers: float) -> argparse.Namespace:
    """Read the command line; each of ``numbers`` is an option with its default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=float, default=default, help=f"{default:g} if unset")
    return parser.parse_args()


def describe(*distributions: str) -> dict[str, str]:
    """Return the processor, its cores, the date and the versions of what was measured."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = (line for line in info.read_text().splitlines() if line.startswith("model name"))
        cpu = next(lines, f"x: {cpu}").partition(":")[2].strip()
    versions = {name: installed_version(name) for name in distributions}
    return {
        "cpu": cpu,
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    } | versions


def show(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    machine: dict[str, str],
) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(*header, title=title, title_justify="left", box=None)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), style="dim")


def finish(path: Path | None, figures: dict[str, Any], goals: dict[str, bool]) -> int:
    """Write the figures, say which goals are missed and return the exit code."""
    if path is not None:
        path.write_text(json.dumps(figures | {"goals": goals}, indent=2) + "\n")
    for goal, met in goals.items():
        sys.stdout.write(f"{'met' if met else 'MISSED'}: {goal}\n")
    return 0 if all(goals.values()) else 1
