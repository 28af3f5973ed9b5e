"""Whatever happens inside a stage, a report of this very run says so, and the exit code with it."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from typing import Any

import pytest
from ml_pipeline.core import report, workdir
from ml_pipeline.core.errors import (
    EnvironmentFault,
    PipelineError,
    Refused,
    UsageError,
    WaitingForPerson,
)
from ml_pipeline.core.report import Check, Profile, StageReport, Verdict
from ml_pipeline.stages import runner
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import STAGES

PASSED = Outcome("fine", [Check(name="c", verdict=Verdict.PASS)])


@pytest.fixture
def context(make_project: Any, make_context: Any) -> Context:
    made: Context = make_context(make_project(), "package")
    return made


@pytest.fixture
def stage_does(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Context], Outcome]], None]:
    def install(run: Callable[[Context], Outcome]) -> None:
        module = types.SimpleNamespace(run=run)
        monkeypatch.setattr(runner.importlib, "import_module", lambda name: module)

    return install


def raising(error: BaseException) -> Callable[[Context], Outcome]:
    def run(context: Context) -> Outcome:
        raise error

    return run


def saved(context: Context) -> StageReport:
    return report.read(context.workdir / "reports/package.json")


def test_the_report_of_a_pass_has_the_digests_of_the_outputs(
    context: Context, stage_does: Any
) -> None:
    def run(context: Context) -> Outcome:
        made = workdir.write_text(context.workdir / "bundle/manifest.json", "{}")
        return Outcome("fine", PASSED.checks, outputs=[made])

    stage_does(run)
    result = runner.execute(context)
    assert result.exit_code == 0
    found = saved(context)
    assert found.outputs == {
        "bundle/manifest.json": workdir.digest(context.workdir / "bundle/manifest.json")
    }
    assert (found.run_id, found.verdict) == ("test-run", Verdict.PASS)


@pytest.mark.parametrize(
    ("error", "exit_code", "verdict"),
    [
        (Refused("no"), 1, "fail"),
        (UsageError("wrong"), 2, "error"),
        (EnvironmentFault("gone"), 3, "error"),
        (WaitingForPerson("due"), 4, "inconclusive"),
        (OSError(28, "No space left on device"), 3, "error"),
        (MemoryError(), 3, "error"),
        (KeyError("x"), 5, "error"),
        (SystemExit(0), 5, "error"),
    ],
)
def test_an_error_becomes_a_verdict_and_its_exit_code(
    context: Context, stage_does: Any, error: Exception, exit_code: int, verdict: str
) -> None:
    stage_does(raising(error))
    assert runner.execute(context).exit_code == exit_code
    assert saved(context).verdict == verdict


def test_the_report_of_an_earlier_run_never_survives(context: Context, stage_does: Any) -> None:
    stage_does(lambda context: PASSED)
    runner.execute(context)

    def look(context: Context) -> Outcome:
        assert not (context.workdir / "reports/package.json").exists()
        assert not (context.workdir / "junit/package.xml").exists()
        return PASSED

    stage_does(look)
    assert runner.execute(context).exit_code == 0


def test_an_interrupt_writes_a_report_and_is_raised_again(
    context: Context, stage_does: Any
) -> None:
    stage_does(raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        runner.execute(context)
    assert saved(context).verdict is Verdict.ERROR
    assert "interrupted" in saved(context).summary


def test_a_full_disk_while_the_report_is_written_is_an_environment_fault(
    context: Context, stage_does: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage_does(lambda context: PASSED)

    def full(path: object, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workdir, "write_bytes", full)
    with pytest.raises(EnvironmentFault, match="cannot write the report of package"):
        runner.execute(context)
    assert not (context.workdir / "reports/package.json").exists()


def test_a_stage_that_checks_nothing_has_not_passed(context: Context, stage_does: Any) -> None:
    stage_does(lambda context: Outcome("nothing done", []))
    result = runner.execute(context)
    assert (result.exit_code, result.report.verdict) == (1, Verdict.INCONCLUSIVE)


class TestTake:
    """A stage refuses inputs whose digest is not what the stage that made them reported."""

    def made(self, context: Context, stage_does: Any, make_context: Any) -> Context:
        def run(context: Context) -> Outcome:
            path = workdir.write_text(context.workdir / "model/schema.json", "{}")
            return Outcome("fine", PASSED.checks, outputs=[path])

        stage_does(run)
        train: Context = make_context(context.project, "train")
        runner.execute(train)
        return context

    def test_returns_an_output_of_the_stage(
        self, context: Any, stage_does: Any, make_context: Any
    ) -> None:
        self.made(context, stage_does, make_context)
        path = context.take("model/schema.json")
        assert context.inputs == {"model/schema.json": workdir.digest(path)}

    def test_refuses_a_changed_file(self, context: Any, stage_does: Any, make_context: Any) -> None:
        self.made(context, stage_does, make_context)
        (context.workdir / "model/schema.json").write_text('{"other": 1}')
        with pytest.raises(UsageError, match="is not what train made; expected sha256"):
            context.take("model/schema.json")

    def test_refuses_a_file_that_the_stage_did_not_report(
        self, context: Any, stage_does: Any, make_context: Any
    ) -> None:
        self.made(context, stage_does, make_context)
        (context.workdir / "model/other.json").write_text("{}")
        with pytest.raises(UsageError, match="is not what train made"):
            context.take("model/other.json")

    def test_names_the_stage_that_was_not_run(self, context: Any) -> None:
        with pytest.raises(UsageError, match="package needs the report of train; run 'ml-pipe"):
            context.take("model/schema.json")

    def test_refuses_the_output_of_a_failed_stage(
        self, context: Any, stage_does: Any, make_context: Any
    ) -> None:
        stage_does(raising(Refused("too little data")))
        runner.execute(make_context(context.project, "train"))
        with pytest.raises(UsageError, match="train ended with fail: too little data"):
            context.take("model/schema.json")


@pytest.mark.parametrize("error", PipelineError.__subclasses__())
def test_every_error_is_one_line_with_fault_expectation_and_hint(
    error: type[PipelineError],
) -> None:
    raised = error("the\nfault", expected="this", hint="do that")
    assert str(raised) == "the fault; expected this; do that"
    assert error.exit_code in (1, 2, 3, 4)


def test_every_stage_has_a_module_that_runs_it() -> None:
    for stage in STAGES.values():
        assert callable(runner.importlib.import_module(stage.module).run), stage.name


def test_profiles_and_reports_round_trip(context: Context, stage_does: Any) -> None:
    stage_does(lambda context: PASSED)
    context.profile = Profile.QUICK
    runner.execute(context)
    text = (context.workdir / "reports/package.json").read_text()
    assert json.loads(text)["profile"] == "quick"
    assert StageReport.model_validate_json(text).to_json() == text
