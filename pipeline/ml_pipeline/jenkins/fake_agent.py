"""A fake of the command ``ml-pipeline`` for tests of Jenkinsfiles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_jenkinsfile import Sh, ShCall

VERDICTS = {0: "pass", 1: "fail", 4: "inconclusive"}
Outcome = int | str | Mapping[str, Any]
"""An exit code, a summary, or keys of the report."""


class FakeMlPipeline:
    """Answer ``sh`` as an agent that has ``ml-pipeline`` would: with exit codes and reports.

    ``outcomes`` holds the outcome of a stage by its verb: an exit code, a summary, or keys of its
    report, of which ``code`` is the exit code and ``writes: False`` omits the report; a list holds
    the outcomes of successive calls. All other stages and commands pass. ``arguments`` lists the
    verbs that ran, each with its flags. Override ``report`` for reports of your own.
    """

    def __init__(self, outcomes: Mapping[str, Outcome | Sequence[Outcome]] | None = None) -> None:
        self.outcomes = dict(outcomes or {})
        self.environment_output = "bin=\n"
        """The output of the script that sets up an agent: ``bin=FOLDER`` or ``error=TEXT``."""
        self.stages: Mapping[str, Any] | None = {}
        """What ``ml-pipeline stages --json`` prints of plug-ins' stages; nothing if None."""
        self.plans: list[Mapping[str, Any] | str | int] = []
        """What successive calls of ``ml-pipeline plan`` print, or their exit codes."""
        self.arguments: list[tuple[str, dict[str, Any]]] = []

    @property
    def verbs(self) -> list[str]:
        """The stages that ran, such as ``deploy staging``."""
        return [
            f"{verb} {flags.get('environment') or ''}".strip() for verb, flags in self.arguments
        ]

    def __call__(self, call: ShCall) -> Sh:
        from pytest_jenkinsfile import Sh

        if call.label == "ml-pipeline: environment":
            return Sh(stdout=self.environment_output)
        if call.label == "ml-pipeline stages":
            return Sh(stdout="" if self.stages is None else json.dumps(self.stages))
        if call.label == "ml-pipeline plan":
            return _printed_plan(call, self.plans.pop(0))
        words = call.script.split()
        if "ml-pipeline" not in words:
            return Sh()
        verb = words[words.index("ml-pipeline") + 1]
        flags = json.loads((call.cwd / f"build/ml/args/{verb}.json").read_text(encoding="utf-8"))
        outcome = self._outcome(verb)
        self.arguments.append((verb, flags))
        code = outcome.pop("code", 0)
        if outcome.pop("writes", True):
            verdict = outcome.get("verdict", VERDICTS.get(code, "error"))
            _write(call.cwd, self.report(verb, flags, code, verdict) | outcome)
        return Sh(status=code, seconds=1)

    def report(
        self, verb: str, flags: Mapping[str, Any], code: int, verdict: str
    ) -> dict[str, Any]:
        """Return the report of a verb that ended with ``code``."""
        return {
            "schema": "ml-pipeline/report/1",
            "stage": verb,
            "environment": flags.get("environment"),
            "profile": "full",
            "verdict": verdict,
            "summary": f"{verb}: {verdict}" if code < 2 else f"{verb} ended with {code}",
            "checks": [{"name": verb, "verdict": verdict, "required": True, "why": "the scenario"}],
            "metrics": {},
            "model": {"name": "model", "version": 1},
            "run_id": flags["run_id"],
        }

    def _outcome(self, verb: str) -> dict[str, Any]:
        outcome = self.outcomes.get(verb, 0)
        if not isinstance(outcome, int | str | Mapping):
            earlier_calls = sum(verb == ran for ran, _ in self.arguments)
            outcome = outcome[min(earlier_calls, len(outcome) - 1)]
        if isinstance(outcome, int):
            return {"code": outcome}
        return {"summary": outcome} if isinstance(outcome, str) else dict(outcome)


def _printed_plan(call: ShCall, answer: Mapping[str, Any] | str | int) -> Sh:
    from pytest_jenkinsfile import Sh

    if isinstance(answer, int):
        return Sh(status=answer)
    text = answer if isinstance(answer, str) else json.dumps(answer)
    (call.cwd / "build/ml/plan.json").write_text(text, encoding="utf-8")
    return Sh()


def _write(folder: Path, report: Mapping[str, Any]) -> None:
    verb, environment = report["stage"], report["environment"]
    name = f"{verb}-{environment}" if environment else verb
    failure = "" if report["verdict"] == "pass" else '<failure message="the scenario"/>'
    junit = f'<testsuite name="{name}"><testcase name="{verb}">{failure}</testcase></testsuite>'
    for path, text in ((f"reports/{name}.json", json.dumps(report)), (f"junit/{name}.xml", junit)):
        file = folder / "build/ml" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
