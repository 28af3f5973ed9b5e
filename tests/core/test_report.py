"""Verdicts fail closed, and reports are plain JSON and JUnit."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator
from ml_pipeline.core import report
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import (
    Check,
    StageReport,
    Verdict,
    blocking,
    headline,
    judge,
    junit_names,
    read,
    to_junit,
)

COPY = re.compile(
    r"\.required\s+and\s+\w+\.verdict\s+(is not|not in|!=)"
    r"|\(Verdict\.PASS, Verdict\.SKIPPED\)"
)
"""A condition that asks which checks keep a stage from passing."""
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def checks(*verdicts: str, required: bool = True) -> list[Check]:
    return [
        Check(name=f"c{n}", verdict=Verdict(verdict), required=required)
        for n, verdict in enumerate(verdicts)
    ]


@pytest.mark.parametrize(
    ("verdicts", "judged"),
    [
        (["pass", "pass"], "pass"),
        (["pass", "skipped"], "pass"),
        (["pass", "inconclusive"], "inconclusive"),
        (["pass", "inconclusive", "fail"], "fail"),
        (["fail", "error"], "error"),
        (["skipped"], "skipped"),
        ([], "inconclusive"),
    ],
)
def test_the_verdict_is_the_worst_of_the_required_checks(verdicts: list[str], judged: str) -> None:
    assert judge(checks(*verdicts)) == judged


@pytest.mark.parametrize("content", ["", "{", "{}", '{"verdict": "pass"}'])
def test_an_invalid_report_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "train.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"train\.json is no report of a stage: .*run the stage"):
        read(path)


def test_advisory_checks_do_not_affect_the_verdict() -> None:
    assert judge([*checks("pass"), *checks("fail", required=False)]) is Verdict.PASS
    assert judge(checks("pass", required=False)) is Verdict.INCONCLUSIVE


def report_with(*found: Check, **metrics: object) -> StageReport:
    return StageReport(
        stage="evaluate",
        verdict=judge(found),
        summary="s",
        checks=found,
        metrics=metrics,
        run_id="r",
        started=WHEN,
        finished=WHEN,
    )


def test_non_finite_values_are_readable_in_strict_json() -> None:
    report = report_with(
        Check(name="a", verdict=Verdict.FAIL, observed=float("nan")), auc=float("inf")
    )
    parsed = json.loads(report.to_json(), parse_constant=pytest.fail)
    assert parsed["checks"][0]["observed"] == "nan"
    assert parsed["metrics"]["auc"] == "inf"


def test_a_report_satisfies_the_published_schema() -> None:
    schema = StageReport.model_json_schema(by_alias=True)
    report = report_with(*checks("pass", "fail"), rows=3)
    Draft202012Validator(schema).validate(json.loads(report.to_json()))


@pytest.mark.parametrize(
    ("observed", "shown"),
    [
        (4 / 300, "0.0133333"),
        (0.25, "0.25"),
        (0.0, "0"),
        (7, "7"),
        ("3 of 9", "3 of 9"),
        (None, "None"),
    ],
)
def test_observed_values_are_shown_with_few_digits(observed: object, shown: str) -> None:
    check = Check(name="extremes", verdict=Verdict.FAIL, observed=observed, expected="at most 0")
    assert headline("300 requests", [check]).startswith(
        f"extremes: observed {shown}, expected at most 0"
    )


def test_junit_counts_failures_of_required_checks_only() -> None:
    report = report_with(
        *checks("pass", "fail", "error", "skipped", "inconclusive"),
        *checks("fail", required=False),
    )
    suite = ElementTree.fromstring(to_junit(report))
    found = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")}
    assert found == {"tests": "6", "failures": "2", "errors": "1", "skipped": "2"}


@pytest.mark.parametrize(
    ("name", "classname", "test"),
    [
        ("finite", "evaluate.checks", "finite"),
        ("rows v1.2: enough", "evaluate.checks", "rows v1.2: enough"),
        ("tests/model/test_a.py::test_x", "evaluate.tests.model.test_a", "test_x"),
        (
            "tests/model/test_a.py::TestB::test_x[1.5/c.py::d]",
            "evaluate.tests.model.test_a.TestB",
            "test_x[1.5/c.py::d]",
        ),
        ("./my tests/v1.0/test_a.py::test_x", "evaluate.my_tests.v1_0.test_a", "test_x"),
        ("a\x00b", "evaluate.checks", "a?b"),
    ],
)
def test_every_case_lies_in_a_package_of_its_stage(name: str, classname: str, test: str) -> None:
    """Jenkins takes what stands before the last dot; without one all are in ``(root)``."""
    assert junit_names("evaluate", name) == {"classname": classname, "name": test}


def test_junit_is_valid_xml_for_any_message() -> None:
    report = report_with(
        Check(name="bell\x07", verdict=Verdict.FAIL, observed="\x00", why="\x1b[31mred")
    )
    (case,) = ElementTree.fromstring(to_junit(report))
    assert case.get("classname", "").endswith(".checks")


FAILED = Check(name="minority", verdict=Verdict.FAIL, observed=0.4, expected="at least 0.5")


@pytest.mark.parametrize(
    ("check", "summary", "line"),
    [
        (FAILED, "AUC 0.57", "minority: observed 0.4, expected at least 0.5; AUC 0.57"),
        (FAILED, "failed: minority, AUC 0.57", "failed: minority, AUC 0.57"),
        (FAILED.model_copy(update={"required": False}), "AUC 0.57", "AUC 0.57"),
        (FAILED.model_copy(update={"why": "too few"}), "1 of 2", "minority: too few; 1 of 2"),
        (
            FAILED.model_copy(update={"why": "tests/a.py::b: assert 1 == 2 (tests/a.py:8)"}),
            "1 of 2 failed: b: assert 1 == 2 (tests/a.py:8)",
            "1 of 2 failed: b: assert 1 == 2 (tests/a.py:8)",
        ),
        (
            FAILED.model_copy(update={"observed": "error rate 12 %, expected 1 %"}),
            "rolled back: error rate 12 %, expected 1 %",
            "rolled back: error rate 12 %, expected 1 %",
        ),
    ],
)
def test_the_summary_of_a_failed_stage_names_the_check_that_failed(
    check: Check, summary: str, line: str
) -> None:
    passed = Check(name="finite", verdict=Verdict.PASS)
    assert headline(summary, [passed, check]) == line


class TestBlocking:
    @pytest.mark.parametrize(
        ("verdict", "required", "blocks"),
        [
            (Verdict.PASS, True, False),
            (Verdict.SKIPPED, True, False),
            (Verdict.FAIL, True, True),
            (Verdict.INCONCLUSIVE, True, True),
            (Verdict.ERROR, True, True),
            (Verdict.FAIL, False, False),
            (Verdict.ERROR, False, False),
        ],
    )
    def test_a_required_check_blocks_unless_it_passed_or_was_skipped(
        self, verdict, required, blocks
    ):
        check = Check(name="limit", verdict=verdict, required=required)
        assert check.blocks is blocks
        assert blocking([check]) == ([check] if blocks else [])

    def test_the_order_stays(self):
        checks = [
            Check(name="first", verdict=Verdict.INCONCLUSIVE),
            Check(name="not run", verdict=Verdict.SKIPPED),
            Check(name="second", verdict=Verdict.FAIL),
        ]
        assert [check.name for check in blocking(checks)] == ["first", "second"]

    def test_every_module_uses_this_function(self):
        """A copy of the rule can forget ``skipped``, as the one of ``verify`` did."""
        package = Path(report.__file__).parents[1]
        copies = [
            path.name
            for path in package.rglob("*.py")
            if path != Path(report.__file__) and COPY.search(path.read_text())
        ]
        assert copies == []
