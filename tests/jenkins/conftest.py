"""A Jenkins with the library, and a fake of ml-pipeline with outcomes that a test sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ml_pipeline import FakeMlPipeline
from pytest_jenkinsfile import Build, Jenkins, Sh, ShCall

ROOT = Path(__file__).resolve().parents[2]
STEPS: Mapping[str, Any] = json.loads((ROOT / "resources/steps.json").read_text())
EXPLICIT = (ROOT / "Jenkinsfile").read_text()
TEMPLATE = "@Library('ml-pipeline') _\nmlPipeline(project: 'examples/nepse')\n"
STAGE_OF = {step: about["stage"] for step, about in STEPS["steps"].items() if "stage" in about}
"""The step of each stage."""


class Package(FakeMlPipeline):
    """The worked example's ml-pipeline; records its calls. ``pages``: stages with a page."""

    def __init__(self, pages: Sequence[str] = ()) -> None:
        super().__init__()
        self.pages = pages
        self.calls: list[ShCall] = []

    def __call__(self, call: ShCall) -> Sh:
        calls_before = len(self.arguments)
        result = super().__call__(call)
        if len(self.arguments) > calls_before:
            self.calls.append(call)
            name = self.verbs[-1].replace(" ", "-")
            if name in self.pages:
                page = call.cwd / f"build/ml/pages/{name}.html"
                page.parent.mkdir(parents=True, exist_ok=True)
                page.write_text(f"<h1>{name}</h1>", encoding="utf-8")
        return result

    def report(
        self, verb: str, flags: Mapping[str, Any], code: int, verdict: str
    ) -> dict[str, Any]:
        return super().report(verb, flags, code, verdict) | {
            "summary": _summary(verb, flags, code),
            "model": {"name": "nepse-direction", "version": 7},
        }

    def flags(self, verb: str) -> dict[str, Any]:
        """Return the flags of the last call of a verb."""
        return [flags for name, flags in self.arguments if name == verb][-1]


def _summary(verb: str, flags: Mapping[str, Any], code: int) -> str:
    if verb == "approve" and "by" in flags:
        decision = "rejected" if flags.get("reject") else "approved"
        return f"version 7 {decision} by {flags['by']}: {flags['reason']}"
    if verb == "gate":
        return "may be promoted: +0.0641 [+0.0504, +0.0777]" if code == 0 else "refused: +0.001"
    if verb == "promote" and code == 0:
        return "version 7 is in production: http://127.0.0.1:8000"
    return f"{verb} ended with {code}"


Deliver = Callable[..., Build]


@pytest.fixture(scope="session")
def controller() -> Iterator[Jenkins]:
    with Jenkins(ROOT, implicit=False) as jenkins:
        yield jenkins


@pytest.fixture
def package() -> Package:
    return Package()


@pytest.fixture
def deliver(controller: Jenkins, package: Package) -> Deliver:
    """Run a Jenkinsfile; by default that of the template on main, approved by alice.

    The program is saved at every step; ``restart_everywhere=True`` reloads it there too, which
    takes six times as long.
    """

    def run(script: str = TEMPLATE, **options: Any) -> Build:
        defaults = {
            "branch": "main",
            "sh": package,
            "restart_everywhere": False,
            "scm": {"examples/nepse/ml.yaml": "project: nepse-direction\n"},
            "answers": [{"input": "*", "by": "alice", "values": {"REASON": "it is better"}}],
        }
        return controller.run(script, **(defaults | options))

    return run


def trace(build: Build) -> list[tuple[str, Any]]:
    """Return the calls of the stages' steps, with their environment, in order."""
    called = []
    for step in build.steps:
        if step.library and step.name in STAGE_OF:
            first = step.arguments[0] if step.arguments else {}
            called.append((step.name, first.get("environment")))
    return called
