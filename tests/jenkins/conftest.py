"""A Jenkins with the library, and a stand-in for ml-pipeline that says what a test wants it to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.jenkinsfile import Build, Jenkins, Sh, ShCall

ROOT = Path(__file__).resolve().parents[2]
STEPS: Mapping[str, Any] = json.loads((ROOT / "resources/steps.json").read_text())
EXPLICIT = (ROOT / "Jenkinsfile").read_text()
TEMPLATE = "@Library('ml-pipeline@v1') _\nmlPipeline(project: 'examples/nepse')\n"
OWN = {step: about["stage"] for step, about in STEPS["steps"].items() if "stage" in about}
"""The step of each stage."""

VERDICTS = {0: "pass", 1: "fail", 4: "inconclusive"}
Said = int | str | Mapping[str, Any] | Sequence[Any]


@dataclass
class Package:
    """Stands in for ml-pipeline on the agent: writes the report that the real one would.

    ``says`` tells what a stage says, by verb: an exit code, a summary, keys of the report with
    ``code`` among them, or a list of these, one a call. What it does not name passes. ``pages``
    are the stages that write a page.
    """

    says: dict[str, Said] = field(default_factory=dict)
    pages: tuple[str, ...] = ()
    setup: str = "bin=\n"
    calls: list[ShCall] = field(default_factory=list)
    arguments: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __call__(self, call: ShCall) -> Sh:
        if call.script.startswith("#!/bin/sh"):
            return Sh(stdout=self.setup)
        if "ml-pipeline" not in call.script:
            return Sh()
        self.calls.append(call)
        words = call.script.split()
        verb = words[words.index("ml-pipeline") + 1]
        given = json.loads((call.cwd / f"build/ml/args/{verb}.json").read_text(encoding="utf-8"))
        self.arguments.append((verb, given))
        said = self._turn(verb)
        if isinstance(said, int):
            said = {"code": said}
        elif isinstance(said, str):
            said = {"summary": said}
        said = dict(said)
        code = said.pop("code", 0)
        if said.pop("writes", True):
            self._write(call.cwd, verb, given, code, said)
        return Sh(status=code, seconds=1)

    def _turn(self, verb: str) -> Any:
        said = self.says.get(verb, 0)
        if isinstance(said, list):
            return said.pop(0) if len(said) > 1 else said[0]
        return said

    def _write(
        self, cwd: Path, verb: str, given: Mapping[str, Any], code: int, said: Mapping[str, Any]
    ) -> None:
        environment = given.get("environment")
        name = f"{verb}-{environment}" if environment else verb
        verdict = said.get("verdict", VERDICTS.get(code, "error"))
        report = {
            "schema": "ml-pipeline/report/1",
            "stage": verb,
            "environment": environment,
            "profile": "full",
            "verdict": verdict,
            "summary": _summary(verb, given, code),
            "checks": [{"name": verb, "verdict": verdict, "required": True, "why": "because"}],
            "metrics": {},
            "model": {"name": "nepse-direction", "version": 7},
            "run_id": given["run_id"],
            **said,
        }
        files = {
            f"reports/{name}.json": json.dumps(report),
            f"junit/{name}.xml": _junit(name, verdict),
        }
        if name in self.pages:
            files[f"pages/{name}.html"] = f"<h1>{name}</h1>"
        for file, content in files.items():
            path = cwd / "build/ml" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")

    @property
    def verbs(self) -> list[str]:
        return [
            f"{verb} {given.get('environment') or ''}".strip() for verb, given in self.arguments
        ]

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
    return f"{verb} said {code}"


def _junit(name: str, verdict: str) -> str:
    inner = "" if verdict == "pass" else '<failure message="because">because</failure>'
    case = f'<testcase classname="{name}" name="c">{inner}</testcase>'
    return f'<testsuite name="{name}">{case}</testsuite>'


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
