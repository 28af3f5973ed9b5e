"""What every verb costs before it does work, against importing the same packages bare.

Goals: ``--help`` within 0.3 s, and no stage more than 0.35 s above the bare imports of the heavy
packages that it loads.
"""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
import time
from pathlib import Path

import machine
from ml_pipeline.stages.table import STAGES

ROOT = Path(__file__).resolve().parent.parent
RUNS = 5
HELP_SECONDS = 0.3
OVERHEAD_SECONDS = 0.35
HEAVY = (
    "fairlearn", "great_expectations", "matplotlib", "mlflow", "numpy", "onnx", "onnxmltools",
    "onnxruntime", "pandas", "scipy", "skl2onnx", "sklearn", "statsmodels", "talib", "xgboost",
)  # fmt: skip


def lazy_imports(module: Path) -> set[str]:
    """Return the heavy packages that a stage's module names in an import, wherever it stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def heavy_of(module: str, seen: set[str]) -> set[str]:
    """Return the heavy packages that a module of ours, and those it imports, may load."""
    if module in seen:
        return set()
    seen.add(module)
    path = ROOT / f"{module.replace('.', '/')}.py"
    if not path.exists():
        return set()
    found: set[str] = set()
    for name in lazy_imports(path):
        if name.split(".")[0] in HEAVY:
            found.add(name.split(".")[0])
        elif name.startswith("ml_pipeline."):
            found |= heavy_of(name, seen)
    return found


def seconds(*programs: str) -> list[float]:
    """Return the median wall time of a fresh interpreter that runs each program, run in turn."""
    times: list[list[float]] = [[] for _ in programs]
    for number in range(RUNS + 1):
        for program, found in zip(programs, times, strict=True):
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", program],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=ROOT,
            )
            if number:
                found.append(time.perf_counter() - started)
    return [statistics.median(found) for found in times]


def main() -> int:
    options = machine.arguments(__doc__)
    rows, figures, goals = [], {}, {}
    bare, usage = seconds(
        "pass", "from ml_pipeline import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass"
    )
    figures["--help"] = {"seconds": usage, "bare": bare}
    rows.append(("--help", f"{usage:.2f}", f"{bare:.2f}", f"{usage - bare:+.2f}", ""))
    goals[f"--help within {HELP_SECONDS} s"] = usage <= HELP_SECONDS
    for stage in STAGES.values():
        packages = sorted(heavy_of(stage.module, set()))
        imports = "\n".join(f"import {name}" for name in packages) or "pass"
        own, peer = seconds(
            "import ml_pipeline.cli.call, ml_pipeline.stages.session\n"
            f"import ml_pipeline.stages.runner, {stage.module}\n{imports}",
            imports,
        )
        figures[stage.name] = {"seconds": own, "bare": peer, "packages": packages}
        rows.append(
            (stage.name, f"{own:.2f}", f"{peer:.2f}", f"{own - peer:+.2f}", " ".join(packages))
        )
        goals[f"{stage.name} within {OVERHEAD_SECONDS} s of its imports"] = (
            own - peer <= OVERHEAD_SECONDS
        )
    header = ("verb", "s", "bare imports s", "overhead s", "heavy packages")
    machine.show("start-up", header, rows, machine.describe("pydantic", "rich"))
    return machine.finish(options.json, figures, goals)


if __name__ == "__main__":
    raise SystemExit(main())
