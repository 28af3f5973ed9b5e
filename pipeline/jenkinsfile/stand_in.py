"""Stands in for the command ``ml-pipeline`` where a scenario answers ``sh``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.jenkinsfile.shell import Sh, ShCall

VERDICTS = {0: "pass", 1: "fail", 4: "inconclusive"}
Said = int | str | Mapping[str, Any]


class MlPipeline:
    """Answers ``sh`` as an agent that has ``ml-pipeline`` would: with exit codes and reports.

    ``says`` tells what a stage says, by verb: an exit code, a summary, or keys of its report, of
    which ``code`` is the exit code; a list says one after the other. All other stages pass, and
    so do all other commands. ``verbs`` are the stages that ran, such as ``deploy staging``.
    """

    def __init__(self, says: Mapping[str, Said | Sequence[Said]] | None = None) -> None:
        self._says = dict(says or {})
        self._turns: dict[str, int] = {}
        self.verbs: list[str] = []

    def __call__(self, call: ShCall) -> Sh:
        if call.label == "ml-pipeline: environment":
            return Sh(stdout="bin=\n")
        words = call.script.split()
        if "ml-pipeline" not in words:
            return Sh()
        verb = words[words.index("ml-pipeline") + 1]
        given = json.loads((call.cwd / f"build/ml/args/{verb}.json").read_text(encoding="utf-8"))
        environment = given.get("environment")
        self.verbs.append(f"{verb} {environment}" if environment else verb)
        said = self._said(verb)
        code = said.pop("code", 0)
        _write(call.cwd, verb, environment, _report(verb, given, code) | said)
        return Sh(status=code, seconds=1)

    def _said(self, verb: str) -> dict[str, Any]:
        said = self._says.get(verb, 0)
        if not isinstance(said, int | str | Mapping):
            turn = self._turns.get(verb, 0)
            self._turns[verb] = turn + 1
            said = said[min(turn, len(said) - 1)]
        if isinstance(said, int):
            return {"code": said}
        return {"summary": said} if isinstance(said, str) else dict(said)


def _report(verb: str, given: Mapping[str, Any], code: int) -> dict[str, Any]:
    verdict = VERDICTS.get(code, "error")
    return {
        "schema": "ml-pipeline/report/1",
        "stage": verb,
        "environment": given.get("environment"),
        "profile": "full",
        "verdict": verdict,
        "summary": f"{verb} says {verdict}",
        "checks": [{"name": verb, "verdict": verdict, "required": True, "why": "the scenario"}],
        "metrics": {},
        "model": {"name": "model", "version": 1},
        "run_id": given["run_id"],
    }


def _write(folder: Path, verb: str, environment: str | None, report: Mapping[str, Any]) -> None:
    name = f"{verb}-{environment}" if environment else verb
    passed = report["verdict"] == "pass"
    failure = "" if passed else '<failure message="the scenario"/>'
    junit = f'<testsuite name="{name}"><testcase name="{verb}">{failure}</testcase></testsuite>'
    for path, text in ((f"reports/{name}.json", json.dumps(report)), (f"junit/{name}.xml", junit)):
        file = folder / "build/ml" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
