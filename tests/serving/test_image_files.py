"""The server's image has every module that the server imports."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path.insert(0, sys.argv[1])
from ml_pipeline.tasks.loader import BUILT_IN, load_task
for name in BUILT_IN:
    load_task(name)
for room in ("serving", "traffic"):
    package = importlib.import_module(f"ml_pipeline.{room}")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
"""


def copied_paths(dockerfile: Path) -> list[str]:
    """Return the paths below ``pipeline/`` that the Dockerfile copies into the image."""
    text = dockerfile.read_text().replace("\\\n", " ")
    lines = re.findall(r"^COPY (pipeline/.*)", text, re.MULTILINE)
    return [path for line in lines for path in line.split()[:-1]]


def test_every_module_of_the_server_can_be_imported_from_the_copied_files(tmp_path):
    for path in copied_paths(ROOT / "docker/server.Dockerfile"):
        copy = tmp_path / Path(path).relative_to("pipeline")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / path, copy)
    run = subprocess.run(
        [sys.executable, "-P", "-c", IMPORT_ALL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr == ""
    assert run.returncode == 0
