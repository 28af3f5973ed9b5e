"""mlRollback and mlReconcile, by the scripts of their jobs."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from tests.jenkins.conftest import ROOT, Deliver, Package

GOLDEN = ROOT / "tests/jobs/golden/jobs/nepse/delivery"


def script(name: str) -> str:
    """Return the script of a job, with the harness's own sources in place of the repository's."""
    text = ET.parse(GOLDEN / f"{name}.xml").findtext("definition/script")
    assert text
    return re.sub(r"checkout scmGit\(.*\)\n", "checkout scm\n", text)


def test_a_person_rolls_back_to_a_version_with_a_reason(deliver: Deliver, package: Package) -> None:
    build = deliver(
        script("rollback"),
        branch=None,
        parameters={"TO": "5", "REASON": "too many alarms"},
        started_by="bina",
        restart_everywhere=True,
    )
    assert build.result == "SUCCESS", build.text
    given = package.flags("rollback")
    assert (given["to"], given["reason"], given["by"]) == (5, "too many alarms", "bina")


def test_without_a_version_the_package_chooses_the_previous_one(
    deliver: Deliver, package: Package
) -> None:
    build = deliver(script("rollback"), branch=None, parameters={"TO": "", "REASON": "alarms"})
    assert build.result == "SUCCESS", build.text
    assert "to" not in package.flags("rollback")


def test_a_version_that_does_not_verify_fails_the_build(deliver: Deliver, package: Package) -> None:
    package.outcomes["rollback"] = {"code": 1, "summary": "no trusted key signed the approval"}
    build = deliver(script("rollback"), branch=None, parameters={"TO": "5", "REASON": "alarms"})
    assert build.result == "FAILURE"
    assert "rollback: no trusted key signed the approval" in build.text


@pytest.mark.parametrize(("code", "result"), [(0, "SUCCESS"), (1, "FAILURE")])
def test_production_is_compared_with_what_it_is_to_serve(
    deliver: Deliver, package: Package, code: int, result: str
) -> None:
    package.outcomes["reconcile"] = code
    build = deliver(script("reconcile"), branch=None, restart_everywhere=True)
    assert build.result == result, build.text
    assert package.verbs == ["reconcile production"]


def test_a_dry_run_changes_nothing(deliver: Deliver, package: Package) -> None:
    for name in ("rollback", "reconcile"):
        text = script(name).replace("credentials: [:]", "dryRun: true")
        build = deliver(text, branch=None, parameters={"TO": "", "REASON": "alarms"})
        assert build.result == "SUCCESS", build.text
    assert package.verbs == []
