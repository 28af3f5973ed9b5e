"""A library's variables and classes, as on a controller."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_jenkinsfile import Jenkins, UnsupportedError

COUNTER = """import groovy.transform.Field
@Field int count = 0
int call() { return ++count }
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library/vars"
    folder.mkdir(parents=True)
    (folder / "counter.groovy").write_text(COUNTER)
    for name in ("one", "other"):
        (folder / f"{name}.groovy").write_text("int call() { echo 'a step'; return counter() }\n")
    return folder.parent


def test_a_field_lasts_as_long_as_the_script_that_uses_it(jenkins: Jenkins, library: Path) -> None:
    script = 'echo "${counter()} ${counter()} ${one()} ${one()} ${other()}"\n'
    build = jenkins.run(script, library=library, restart_everywhere=True)
    assert build.echoes[-1] == "1 2 1 2 1"


BROKEN = {
    "vars/good.groovy": "def call() { echo new org.Fine().word() }\n",
    "vars/broken.groovy": "def call() { echo 'never' \n",
    "vars/needsBroken.groovy": "def call() { new org.Broken() }\n",
    "src/org/Fine.groovy": "package org\nclass Fine { def word() { 'fine' } }\n",
    "src/org/Broken.groovy": "package org\nclass Broken { def x( }\n",
    "src/org/NeedsBroken.groovy": "package org\nclass NeedsBroken { Broken other }\n",
}


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    for name, text in BROKEN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_library_file_that_does_not_compile_fails_only_scripts_that_use_it(
    jenkins: Jenkins, broken: Path
) -> None:
    build = jenkins.run("echo 'broken'\ngood()\n", library=broken)
    assert (build.result, build.echoes) == ("SUCCESS", ["broken", "fine"])


@pytest.mark.parametrize(
    ("script", "file"),
    [
        ("broken()", "vars/broken.groovy: 2"),
        ("needsBroken()", "src/org/Broken.groovy: 2"),
        ("new org.Broken()", "src/org/Broken.groovy: 2"),
        ("new org.NeedsBroken()", "src/org/NeedsBroken.groovy: 2"),
    ],
)
def test_a_script_that_uses_it_fails_with_its_line(
    script: str, file: str, jenkins: Jenkins, broken: Path
) -> None:
    build = jenkins.run(f"{script}\n", library=broken)
    assert build.result == "FAILURE"
    assert "MultipleCompilationErrorsException: startup failed:" in build.text
    assert f"{broken}/{file}: " in build.text


@pytest.mark.parametrize(
    ("script", "missing"),
    [
        (
            "@Library('ours@v1') _\n",
            "ERROR: Could not find any definition of libraries [ours@v1]",
        ),
        ("library 'ours@v1'\n", "ERROR: No library named ours found"),
    ],
)
def test_an_unknown_library_is_unsupported_in_a_scenario_without_libraries(
    script: str, missing: str, jenkins: Jenkins
) -> None:
    with pytest.raises(
        UnsupportedError, match=r"'ours@v1' is not configured in this scenario.*--library DIR"
    ):
        jenkins.run(script, library={})
    build = jenkins.run(script, library={"other": Path(__file__).parent})
    assert missing in build.console
