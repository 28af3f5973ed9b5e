"""With a real shell: hostile values reach no shell, and the real package goes to production."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pytest_jenkinsfile import Build, Jenkins

from tests.conftest import SMALL
from tests.integration.conftest import free_port
from tests.jenkins.conftest import TEMPLATE
from tests.jenkins.test_rollback import script as job_script

HOSTILE = {
    "double quotes": '"; touch hacked; "',
    "single quotes": "'; touch hacked; '",
    "substitution": "$(touch hacked)",
    "backticks": "`touch hacked`",
    "newline": "a\ntouch hacked\n",
    "upwards": "../../hacked",
    "variable": "${IFS}touch${IFS}hacked",
    "option": "--set=x --yes",
    "unicode": "ünï \u202e नेप्से",
    "long": "x" * 200,
    "backslash": "\\'; touch hacked #",
}
PACKAGE = """#!{python} -P
import json, os, pathlib, sys
verb = sys.argv[1]
if verb == "--version":
    print("ml-pipeline {version}")
    sys.exit()
assert sys.argv[2:] == ["--args", f"build/ml/args/{{verb}}.json"], sys.argv
given = json.loads(pathlib.Path(sys.argv[3]).read_text(encoding="utf-8"))
name = f"{{verb}}-{{given['environment']}}" if "environment" in given else verb
report = dict(schema="ml-pipeline/report/1", stage=verb, environment=given.get("environment"),
    verdict="pass", summary=given.get("reason", "fine"), checks=[], metrics={{}},
    run_id=given["run_id"], model=dict(name="m", version=7))
with open(os.environ["SEEN"], "a", encoding="utf-8") as seen:
    seen.write(json.dumps([verb, given]) + "\\n")
path = pathlib.Path(f"build/ml/reports/{{name}}.json")
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(json.dumps(report), encoding="utf-8")
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a command ml-pipeline into the path that records its arguments; return its folder."""
    from ml_pipeline import __version__

    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "ml-pipeline"
    command.write_text(PACKAGE.format(python=sys.executable, version=__version__))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "seen"


def seen(file: Path) -> dict[str, dict[str, Any]]:
    return dict(json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_values_reach_no_shell(
    controller: Jenkins, fake: Path, tmp_path: Path, value: str
) -> None:
    script = """@Library('ml-pipeline') _
    mlVerify(environment: 'staging', url: params.VALUE, set: ["project=${params.VALUE}"])
    mlGate()
    mlApprove(submitters: params.VALUE)
    """
    build = controller.run(
        script,
        mode="live",
        branch=value,
        scm={"ml.yaml": "project: m\n"},
        parameters={"VALUE": value},
        env={"CHANGE_TITLE": value, "CHANGE_AUTHOR": value},
        answers=[{"input": "*", "by": "admin", "values": {"REASON": value}}],
        clock="jump",
        folder=tmp_path / "jenkins",
    )
    assert build.result == "SUCCESS", build.text
    given = seen(fake)
    assert given["verify"]["url"] == value
    assert given["verify"]["set"] == [f"project={value}"]
    assert given["approve"]["reason"] == value.strip()
    assert not list(tmp_path.rglob("hacked"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small project with the real package in the path; its servers are stopped at the end."""
    root = tmp_path / "project"
    (root / "tests/unit").mkdir(parents=True)
    (root / "tests/unit/test_unit.py").write_text("def test_sum():\n    assert 1 + 1 == 2\n")
    environments = {name: {"port": free_port()} for name in ("staging", "production")}
    source = SMALL["data"]["source"] | {"edge": 1.5}
    data = {"source": source, "ci": source | {"days": 120}}
    gate = {"non_inferior_margin": 0.05}
    values = SMALL | {"environments": environments, "data": data, "gate": gate}
    (root / "ml.yaml").write_text(yaml.safe_dump(values))
    command = tmp_path / "bin/ml-pipeline"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m ml_pipeline "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv(
        "PATH", f"{command.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    )
    monkeypatch.setenv("ML_HOME", str(tmp_path / "home"))
    yield root
    for name in environments:
        subprocess.run([command, "stop", name], cwd=root, check=False, capture_output=True)


def ask(url: str) -> int:
    """Return the version in production's answer to a row."""
    with urllib.request.urlopen(f"{url}/metadata", timeout=60) as answer:
        width = len(json.load(answer)["features"])
    body = json.dumps({"features": [None] * width}).encode()
    request = urllib.request.Request(
        f"{url}/predict", body, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        version: int = json.load(answer)["model_version"]
    return version


def send_drifted_rows(url: str, released: Path) -> None:
    """Send rows of the training to the server, three standard deviations away."""
    (reference,) = released.glob("*/reference.parquet")
    with urllib.request.urlopen(f"{url}/metadata", timeout=60) as answer:
        names = [feature["name"] for feature in json.load(answer)["features"]]
    rows = pd.read_parquet(reference)[names].sample(300, random_state=1)
    numeric = rows.select_dtypes("number").columns
    rows[numeric] += 3 * rows[numeric].std()
    for row in rows.astype(object).where(rows.notna(), None).to_numpy().tolist():
        request = urllib.request.Request(
            f"{url}/predict",
            json.dumps({"features": row}).encode(),
            headers={"content-type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=60).close()


@pytest.mark.slow
def test_the_real_package_goes_to_production_is_retrained_for_drift_and_goes_back(
    controller: Jenkins, project: Path, tmp_path: Path
) -> None:
    def deliver(by: str, reason: str) -> Build:
        return controller.run(
            TEMPLATE.replace("examples/nepse", "."),
            mode="live",
            branch="main",
            scm=project,
            answers=[{"input": "*", "by": by, "values": {"REASON": reason}}],
            folder=tmp_path / by,
        )

    build = deliver("alice", "it is better")
    assert build.result == "SUCCESS", build.text
    assert (build.description or "").startswith("version 1 is in production: http://127.0.0.1:")
    url = (build.description or "").split()[-1]
    assert ask(url) == 1
    approval = json.loads(build.artifacts["build/ml/reports/approve.json"].read_text())
    assert approval["summary"] == "version 1 approved by alice: it is better"

    values = yaml.safe_load((project / "ml.yaml").read_text())
    values["data"]["source"]["days"] += 30
    (project / "ml.yaml").write_text(yaml.safe_dump(values))
    send_drifted_rows(url, tmp_path / "home/small/released")
    main = "nepse/delivery/branches/main"
    look = controller.run(
        job_script("monitor"),
        mode="live",
        scm=project,
        job="nepse/delivery/monitor",
        jobs={main: {"script": TEMPLATE.replace("examples/nepse", "."), "branch": "main"}},
        cause="timer",
        answers=[{"input": "*", "by": "bob", "values": {"REASON": "the drift is real"}}],
        folder=tmp_path / "bob",
    )
    assert look.result == "UNSTABLE", look.text
    assert (look.description or "").startswith("retrain: drift of ")
    (newer,) = [each for each in look.builds if each.job == main]
    assert newer.result == "SUCCESS", newer.text
    assert (newer.description or "").startswith(f"version 2 is in production: {url}; cause: drift")
    trained = json.loads(newer.artifacts["build/ml/reports/train.json"].read_text())
    assert f"; cause: {trained['metrics']['cause']}" in (newer.description or "")
    assert ask(url) == 2

    back = controller.run(
        job_script("rollback"),
        mode="live",
        scm=project,
        parameters={"TO": "", "REASON": "too many alarms"},
        started_by="bina",
        folder=tmp_path / "bina",
    )
    assert back.result == "SUCCESS", back.text
    assert ask(url) == 1
    lines = (tmp_path / "home/small/history.jsonl").read_text().splitlines()
    history = [json.loads(line) for line in lines]
    assert [(one["kind"], one["version"], one["by"], one["reason"]) for one in history] == [
        ("promotion", 1, "alice", "it is better"),
        ("promotion", 2, "bob", "the drift is real"),
        ("rollback", 1, "bina", "too many alarms"),
    ]
    file = yaml.safe_load((tmp_path / "home/small/production-model.yaml").read_text())
    assert (file["model_version"], file["approved"]["by"]) == (1, "alice")


@pytest.mark.slow
def test_the_real_package_checks_a_pull_request(
    controller: Jenkins, project: Path, tmp_path: Path
) -> None:
    build = controller.run(
        TEMPLATE.replace("examples/nepse", "."),
        mode="live",
        branch="PR-7",
        scm=project,
        folder=tmp_path / "jenkins",
    )
    assert build.result == "SUCCESS", build.text
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_a_key_that_is_misspelt_is_named(
    controller: Jenkins, project: Path, tmp_path: Path
) -> None:
    text = (project / "ml.yaml").read_text()
    (project / "ml.yaml").write_text(text + "evalute: {}\n")
    build = controller.run(
        "@Library('ml-pipeline') _\nmlTrain()\n",
        mode="live",
        branch="main",
        scm=project,
        folder=tmp_path / "jenkins",
    )
    assert build.result == "FAILURE"
    assert "did you mean 'evaluate'?" in (build.description or "")
