"""A Jenkins with the library, and a stand-in for ml-pipeline that says what a test wants it to."""

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
OWN = {step: about["stage"] for step, about in STEPS["steps"].items() if "stage" in about}
"""The step of each stage."""


class Package(FakeMlPipeline):
    """The worked example's ml-pipeline; notes how it was called. ``pages``: stages with a page."""

    def __init__(self, pages: Sequence[str] = ()) -> None:
        super().__init__()
        self.pages = pages
        self.stages: Mapping[str, Any] | None = None
        """What ``ml-pipeline stages --json`` prints; nothing if None."""
        self.calls: list[ShCall] = []

    def __call__(self, call: ShCall) -> Sh:
        if call.label == "ml-pipeline stages":
            return Sh(stdout=json.dumps(self.stages) if self.stages else "")
        ran = len(self.arguments)
        answer = super().__call__(call)
        if len(self.arguments) > ran:
            self.calls.append(call)
            name = self.verbs[-1].replace(" ", "-")
            if name in self.pages:
                page = call.cwd / f"build/ml/pages/{name}.html"
                page.parent.mkdir(parents=True, exist_ok=True)
                page.write_text(f"<h1>{name}</h1>", encoding="utf-8")
        return answer

    def report(
        self, verb: str, given: Mapping[str, Any], code: int, verdict: str
    ) -> dict[str, Any]:
        return super().report(verb, given, code, verdict) | {
            "summary": _summary(verb, given, code),
            "model": {"name": "nepse-direction", "version": 7},
        }

    def given(self, verb: str) -> dict[str, Any]:
        """Return the arguments of the last call of a verb."""
        return [given for name, given in self.arguments if name == verb][-1]


def _summary(verb: str, given: Mapping[str, Any], code: int) -> str:
    if verb == "approve" and "by" in given:
        past = "rejected" if given.get("reject") else "approved"
        return f"version 7 {past} by {given['by']}: {given['reason']}"
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
        given = {
            "branch": "main",
            "sh": package,
            "restart_everywhere": False,
            "scm": {"examples/nepse/ml.yaml": "project: nepse-direction\n"},
            "answers": [{"input": "*", "by": "alice", "values": {"REASON": "it is better"}}],
        }
        return controller.run(script, **(given | options))

    return run


def trace(build: Build) -> list[tuple[str, Any]]:
    """Return the calls of the stages' steps, with their environment, in order."""
    called = []
    for step in build.steps:
        if step.library and step.name in OWN:
            first = step.arguments[0] if step.arguments else {}
            called.append((step.name, first.get("environment")))
    return called
