"""The fake of ml-pipeline has the outcomes that a scenario sets, and records what ran."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ml_pipeline import FakeMlPipeline
from pytest_jenkinsfile import Sh, ShCall


def call(folder: Path, script: str, label: str | None = None) -> ShCall:
    return ShCall(script, label, folder, folder, None, None, "built-in", None, {}, 1)


def run(
    package: FakeMlPipeline, folder: Path, verb: str, **flags: Any
) -> tuple[int, dict[str, Any]]:
    arguments = folder / f"build/ml/args/{verb}.json"
    arguments.parent.mkdir(parents=True, exist_ok=True)
    arguments.write_text(json.dumps({"run_id": "r", **flags}))
    result = package(call(folder, f"ml-pipeline {verb} --args {arguments.name}"))
    name = "-".join([verb, *flags.values()])
    return result.status, json.loads((folder / f"build/ml/reports/{name}.json").read_text())


def test_stages_pass_without_an_outcome_of_their_own(tmp_path: Path) -> None:
    package = FakeMlPipeline({"gate": {"code": 1, "summary": "no"}, "train": "done"})
    code, report = run(package, tmp_path, "deploy", environment="staging")
    assert (code, report["verdict"], report["environment"]) == (0, "pass", "staging")
    assert run(package, tmp_path, "train")[1]["summary"] == "done"
    code, report = run(package, tmp_path, "gate")
    assert (code, report["verdict"], report["summary"]) == (1, "fail", "no")
    assert "<failure" in (tmp_path / "build/ml/junit/gate.xml").read_text()
    assert package.verbs == ["deploy staging", "train", "gate"]


def test_a_list_holds_the_outcomes_of_successive_calls(tmp_path: Path) -> None:
    package = FakeMlPipeline({"register": [3, 0]})
    assert [run(package, tmp_path, "register")[0] for _ in range(3)] == [3, 0, 0]


def test_other_commands_pass_and_the_agent_has_the_package(tmp_path: Path) -> None:
    package = FakeMlPipeline()
    assert package(call(tmp_path, "make")) == Sh()
    assert package(call(tmp_path, "#!/bin/sh", "ml-pipeline: environment")).stdout == "bin=\n"
    assert package.verbs == []
