"""A fake of the command ``ml-pipeline`` for tests of Jenkinsfiles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_jenkinsfile import Sh, ShCall

VERDICTS = {0: "pass", 1: "fail", 4: "inconclusive"}
Said = int | str | Mapping[str, Any]


class FakeMlPipeline:
    """Answer ``sh`` as an agent that has ``ml-pipeline`` would: with exit codes and reports.

    ``says`` holds the outcome of a stage by its verb: an exit code, a summary, or keys of its
    report, of which ``code`` is the exit code and ``writes: False`` omits the report; a list holds
    the outcomes of successive calls. All other stages and commands pass. ``arguments`` lists the
    verbs that ran, each with its flags. Override ``report`` for reports of your own.
    """

    def __init__(self, says: Mapping[str, Said | Sequence[Said]] | None = None) -> None:
        self.says = dict(says or {})
        self.setup = "bin=\n"
        """What the script says that sets an agent up."""
        self.arguments: list[tuple[str, dict[str, Any]]] = []

    @property
    def verbs(self) -> list[str]:
        """The stages that ran, such as ``deploy staging``."""
        return [
            f"{verb} {given.get('environment') or ''}".strip() for verb, given in self.arguments
        ]

    def __call__(self, call: ShCall) -> Sh:
        from pytest_jenkinsfile import Sh

        if call.label == "ml-pipeline: environment":
            return Sh(stdout=self.setup)
        words = call.script.split()
        if "ml-pipeline" not in words:
            return Sh()
        verb = words[words.index("ml-pipeline") + 1]
        given = json.loads((call.cwd / f"build/ml/args/{verb}.json").read_text(encoding="utf-8"))
        said = self._said(verb)
        self.arguments.append((verb, given))
        code = said.pop("code", 0)
        if said.pop("writes", True):
            verdict = said.get("verdict", VERDICTS.get(code, "error"))
            _write(call.cwd, self.report(verb, given, code, verdict) | said)
        return Sh(status=code, seconds=1)

    def report(
        self, verb: str, given: Mapping[str, Any], code: int, verdict: str
    ) -> dict[str, Any]:
        """Return the report of a verb that ended with ``code``."""
        return {
            "schema": "ml-pipeline/report/1",
            "stage": verb,
            "environment": given.get("environment"),
            "profile": "full",
            "verdict": verdict,
            "summary": f"{verb} says {verdict}" if code < 2 else f"{verb} ended with {code}",
            "checks": [{"name": verb, "verdict": verdict, "required": True, "why": "the scenario"}],
            "metrics": {},
            "model": {"name": "model", "version": 1},
            "run_id": given["run_id"],
        }

    def _said(self, verb: str) -> dict[str, Any]:
        said = self.says.get(verb, 0)
        if not isinstance(said, int | str | Mapping):
            turn = sum(verb == ran for ran, _ in self.arguments)
            said = said[min(turn, len(said) - 1)]
        if isinstance(said, int):
            return {"code": said}
        return {"summary": said} if isinstance(said, str) else dict(said)


def _write(folder: Path, report: Mapping[str, Any]) -> None:
    verb, environment = report["stage"], report["environment"]
    name = f"{verb}-{environment}" if environment else verb
    failure = "" if report["verdict"] == "pass" else '<failure message="the scenario"/>'
    junit = f'<testsuite name="{name}"><testcase name="{verb}">{failure}</testcase></testsuite>'
    for path, text in ((f"reports/{name}.json", json.dumps(report)), (f"junit/{name}.xml", junit)):
        file = folder / "build/ml" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
