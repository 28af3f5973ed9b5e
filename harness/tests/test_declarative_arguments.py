"""Arguments of steps in a Declarative pipeline are checked before the build starts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pytest_jenkinsfile import Jenkins

from .replay import RECORDINGS

CASES: list[dict[str, Any]] = json.loads(
    (RECORDINGS / "compile-errors.json").read_text(encoding="utf-8")
)["cases"]
PLUGINS = ["pipeline-utility-steps", "htmlpublisher", "checks-api", "ws-cleanup"]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_errors_are_those_of_a_controller(number: int, jenkins: Jenkins) -> None:
    case = CASES[number]
    build = jenkins.run(case["script"], plugins=PLUGINS, implicit=False)
    errors = [
        line for line in build.console if re.match(r"WorkflowScript: |\d+ errors?$", line.strip())
    ]
    assert build.result == "FAILURE"
    assert [line.strip() for line in errors] == [line.strip() for line in case["errors"]]


def test_composed_arguments_are_not_checked(jenkins: Jenkins) -> None:
    script = """
        def five = 5
        pipeline { agent any
          stages { stage('a') { steps {
            echo "${five}"
            sleep(time: five - 5)
            timeout(time: 1 + 4, unit: 'SECONDS') { echo 'in' }
          } } } }
    """
    assert jenkins.run(script).echoes == ["5", "in"]
