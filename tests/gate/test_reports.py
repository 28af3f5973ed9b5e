"""Files followed from stage to stage, and the record that stays with the version."""

import hashlib
import json
from datetime import UTC, datetime

import pytest
from ml_pipeline.core.report import Check, ModelRef, StageReport, Verdict
from ml_pipeline.gate.checks.file_lineage import check_lineage
from ml_pipeline.gate.checks.reports_passed import check_report, summarize_passed
from ml_pipeline.gate.checks.same_run import check_run
from ml_pipeline.gate.record import record

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = ModelRef(name="m", identity="a" * 64, digest="b" * 64)
PASSED = (Check(name="c", verdict=Verdict.PASS),)


def report(stage, **changed):
    values = {"verdict": Verdict.PASS, "summary": "", "checks": PASSED, "run_id": "r"}
    return StageReport(**{"stage": stage, "started": NOW, "finished": NOW} | values | changed)


def test_a_report_of_this_model_passes():
    model = ModelRef(name="m", identity=MODEL.identity, digest=MODEL.digest)
    assert check_report("package", report("package", model=model), MODEL).verdict is Verdict.PASS


class TestPassedReports:
    def of(self, *verdicts):
        named = zip(("train", "evaluate", "package"), verdicts, strict=False)
        return summarize_passed(
            [Check(name=f"report of {name}", verdict=each) for name, each in named]
        )

    def test_reports_that_passed_are_one_check(self):
        (check,) = self.of(Verdict.PASS, Verdict.PASS, Verdict.PASS)
        assert (check.name, check.verdict) == ("reports of the stages", Verdict.PASS)
        assert check.observed == "3 of 3 passed: train, evaluate, package"

    def test_one_that_did_not_stands_by_itself_and_first(self):
        failed, passed = self.of(Verdict.PASS, Verdict.FAIL, Verdict.PASS)
        assert (failed.name, failed.verdict) == ("report of evaluate", Verdict.FAIL)
        assert passed.observed == "2 of 3 passed: train, package"

    def test_where_none_passed_nothing_does(self):
        assert {check.verdict for check in self.of(Verdict.FAIL, Verdict.INCONCLUSIVE)} == {
            Verdict.FAIL,
            Verdict.INCONCLUSIVE,
        }
        assert summarize_passed([]) == []


@pytest.mark.parametrize(
    "copied", [report("lint"), report("verify", environment="production"), report("package")]
)
def test_a_report_under_another_name_is_none(copied):
    check = check_report("verify staging", copied, MODEL)
    assert check.verdict is Verdict.FAIL
    assert "is not verify staging" in check.why


def test_lint_and_test_of_another_run_may_be_of_other_code():
    reports = {"train": report("train"), "test": report("test"), "lint": report("lint", run_id="x")}
    lint, test = check_run(reports, ("lint", "test"))
    assert (lint.verdict, test.verdict) == (Verdict.FAIL, Verdict.PASS)
    assert "another run" in lint.why
    assert check_run({"train": report("train"), "test": None}, ("lint", "test")) == []


def test_a_file_that_changed_between_stages_is_found():
    train = report("train", outputs={"model/model.onnx": "1"})
    evaluate = report("evaluate", inputs={"model/model.onnx": "2"})
    check = check_lineage({"train": train, "evaluate": evaluate})
    assert check.verdict is Verdict.FAIL
    assert check.observed == "evaluate read another model/model.onnx than train made"


def test_files_that_agree_are_counted_and_none_is_no_proof():
    train = report("train", outputs={"model/model.onnx": "1"})
    evaluate = report("evaluate", inputs={"model/model.onnx": "1"})
    assert check_lineage({"train": train, "evaluate": evaluate}).verdict is Verdict.PASS
    assert check_lineage({"train": None, "evaluate": None}).verdict is Verdict.INCONCLUSIVE


def test_the_record_is_canonical_and_holds_no_nan():
    failed = [*PASSED, Check(name="x", verdict=Verdict.FAIL, observed=float("nan"))]
    one, other = (
        record(
            failed,
            dict(metrics),
            summary="s",
            challenger="c",
            champion=None,
            policy="p",
        )
        for metrics in ([("a", float("nan")), ("b", 1)], [("b", 1), ("a", float("nan"))])
    )
    assert hashlib.sha256(one).digest() == hashlib.sha256(other).digest()
    values = json.loads(one)
    assert (values["verdict"], values["champion"], values["metrics"]["a"]) == ("fail", None, "nan")
