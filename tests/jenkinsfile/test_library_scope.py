"""A library's variable is an object of the script that uses it, as on a controller."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.jenkinsfile import Jenkins

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
