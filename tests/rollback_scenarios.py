"""The scenarios of docs/how-to/roll-back.md, run verbatim while a client sends requests."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from ml_pipeline import config
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.home import Home
from ml_pipeline.promotion.status import status

from tests.http_requests import RequestLoop
from tests.servers import free_port

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/how-to/roll-back.md"
SMALL = {
    "DATA__SOURCE__SYMBOLS": "24",
    "DATA__SOURCE__EDGE": "1.5",
    "TRAIN__MAX_EPOCHS": "20",
    "EVALUATE__RESAMPLES": "50",
    "GATE__NON_INFERIOR_MARGIN": "0.05",
    "LOAD_TEST__RATE": "150",
    "LOAD_TEST__SECONDS": "1",
    "LOAD_TEST__P99_MS": "3000",
    "LOAD_TEST__REQUIRED": "false",
    "SHADOW__REQUESTS": "200",
    "SHADOW__P99_MS": "3000",
    "SHADOW__TIMEOUT_MS": "9000",
}
"""A small model of the same example, and limits for a machine that other tests share."""


def consoles() -> Any:
    spec = importlib.util.spec_from_file_location("consoles", ROOT / "docs/consoles.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["consoles"] = module
    spec.loader.exec_module(module)
    return module


class DocsScenario:
    """A section of the page in a copy of the example."""

    def __init__(self, folder: Path, title: str, settings: Mapping[str, str], run: str) -> None:
        module = consoles()
        (found,) = (one for one in module.scenarios(PAGE.read_text()) if one.title == title)
        self.commands = [command.replace("run all", run) for command in found.commands]
        self.root: Path = module.checkout(folder, found)
        self.home = self.root / ".ml/nepse-direction"
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        ports = {"STAGING": free_port(), "PRODUCTION": port}
        own = {f"ENVIRONMENTS__{name}__PORT": str(number) for name, number in ports.items()}
        given = {f"ML__{key}": value for key, value in (SMALL | own | dict(settings)).items()}
        self.environment = {k: v for k, v in os.environ.items() if k != "ML_HOME"} | given

    def __call__(self, command: str) -> str:
        """Run a command of the page; it passes, or ``run`` waits for a person."""
        words = shlex.split(command)
        program = (
            [sys.executable, "-P", "-m", "ml_pipeline"] if words[0] == "ml-pipeline" else words
        )
        arguments = words[1:] if words[0] == "ml-pipeline" else []
        done = subprocess.run(
            [*program, *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=300,
        )
        expected = 4 if words[1] == "run" else 0
        assert done.returncode == expected, command + "\n" + done.stdout + done.stderr
        return done.stdout

    def status(self) -> dict[str, Any]:
        project = config.load(self.root, environment=self.environment)
        rows = status(project, Home(self.home))
        return next(row for row in rows if row["environment"] == "production")

    def golden(self) -> Any:
        """Return the golden rows of what production-model.yaml names, as kept in the home."""
        values = yaml.safe_load((self.home / "production-model.yaml").read_text())
        return Bundle.open(self.home / "released" / values["digests"]["bundle"]).golden

    def assert_agreed(self, asking: RequestLoop, version: int, kind: str, by: str) -> None:
        """Check that server, registry, production-model.yaml, home and history agree."""
        answer = asking.next()
        row = self.status()
        values = yaml.safe_load((self.home / "production-model.yaml").read_text())
        entry = json.loads((self.home / "history.jsonl").read_text().splitlines()[-1])
        assert answer.version == row["version"] == version
        assert values["model_version"] == entry["version"] == version
        assert values["serving_endpoint"] == entry["endpoint"] == row["url"] == self.url
        assert values["digests"]["bundle"] == entry["bundle"]
        assert entry["bundle"].startswith(row["bundle"])
        assert (entry["kind"], entry["by"]) == (kind, by)
        assert "champion" in row["alias"].split(", ")
        assert row["open"] is None


CHANGES = (
    ("promote", 1, "promotion", "asha"),
    ("promote", 2, "promotion", "bina"),
    ("rollback", 1, "rollback", "chandra"),
)


def back_and_forth(
    folder: Path, title: str, settings: Mapping[str, str], run: str = "run all"
) -> None:
    """Run a scenario of the page; the log has the duration of the rollback in seconds.

    ``run`` takes the place of `run all`: its quick half deploys nothing, and takes its time.

    A client asks production from the first promotion to the end: all of its requests are answered.
    """
    scenario = DocsScenario(folder, title, settings, run)
    left = list(CHANGES)
    asking: RequestLoop | None = None
    took: dict[str, float] = {}
    with ExitStack() as end:
        end.callback(scenario, "ml-pipeline stop")
        commands = iter(scenario.commands)
        for command in commands:
            began = time.monotonic()
            scenario(command)
            took["command"] = time.monotonic() - began
            if command.split()[1] != left[0][0]:
                continue
            if asking is None:
                asking = end.enter_context(RequestLoop(scenario.url, scenario.golden().inputs[0]))
            scenario.assert_agreed(asking, *left.pop(0)[1:])
            if not left:
                break
        assert asking is not None
        took["traffic"] = asking.first_response(1, since=began) - began
        report = json.loads((scenario.root / "build/ml/reports/rollback.json").read_text())
        took["reported"] = report["metrics"]["seconds"]
        for rest in commands:
            scenario(rest)
    logger.info("%s: %s", title, took)
    assert left == []
    assert asking.failed == []
    assert asking.versions[0] == asking.versions[-1] == 1
    assert set(asking.versions) == {1, 2}
    golden = scenario.golden()
    by_version = {asked.version: asked.probability for asked in asking.answers}
    assert by_version[1] == pytest.approx(golden.predictions[0], abs=1e-6)
    assert by_version[2] != by_version[1]
