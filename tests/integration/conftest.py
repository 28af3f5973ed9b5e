"""Projects on disk and the command line as a user calls it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from ml_pipeline.config import Project
from ml_pipeline.core.report import StageReport

from tests.mlflow_server import postgres_registry
from tests.postgres import postgres

__all__ = ["postgres", "postgres_registry"]

LENIENT = {
    "ML__LOAD_TEST__SECONDS": "1",
    "ML__LOAD_TEST__P99_MS": "3000",
    "ML__SHADOW__P99_MS": "3000",
    "ML__SHADOW__TIMEOUT_MS": "9000",
}
"""For a machine that other tests share."""


@dataclass
class Run:
    """One call of the command line: its exit code and what it printed."""

    code: int
    out: str
    err: str


@dataclass
class CommandLine:
    """``ml-pipeline`` in a project, in a process of its own."""

    project: Project
    environment: dict[str, str] = field(default_factory=lambda: dict(LENIENT))

    def __call__(self, *arguments: str, **environment: str) -> Run:
        done = subprocess.run(
            [sys.executable, "-m", "ml_pipeline", *arguments],
            cwd=self.project.root,
            env=os.environ | self.environment | environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=300,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def report(self, name: str) -> StageReport:
        path = self.project.root / f"build/ml/reports/{name}.json"
        return StageReport.model_validate_json(path.read_text())

    def status(self) -> dict[str, dict[str, Any]]:
        rows = json.loads(self("status", "--json").out)
        return {row["environment"]: row for row in rows}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def command_line() -> Iterator[Callable[[Project], CommandLine]]:
    """Make command lines; the servers that they start are stopped at the end."""
    made: list[CommandLine] = []

    def make(project: Project) -> CommandLine:
        made.append(CommandLine(project))
        return made[-1]

    yield make
    for command in made:
        for name in ("staging", "production"):
            command("stop", name)
