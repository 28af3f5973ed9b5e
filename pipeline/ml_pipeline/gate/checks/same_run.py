"""Whether lint and test ran on the code that the model was trained with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.gate.checks.base import GateCheck
from ml_pipeline.gate.model_comparison import ModelComparison, StageReports


class SameRun(GateCheck):
    """Lint and test, where they are required, ran in the run that trained the model."""

    name = "run of lint and test"

    def judge(self, comparison: ModelComparison) -> Sequence[Check]:
        return check_run(comparison.reports, comparison.code_stages)


def check_run(reports: StageReports, code_stages: Iterable[str]) -> list[Check]:
    """Return whether the stages of the code, where they are required, are of the run that trained.

    Their reports do not identify the code, so those of another run may be about other code.
    """
    train = reports.get("train")
    run_id = train.run_id if train else None
    checks = []
    for name in code_stages:
        report = reports.get(name)
        if report is None:
            continue
        same = report.run_id == run_id
        checks.append(
            Check(
                name=f"run of {name}",
                verdict=Verdict.PASS if same else Verdict.FAIL,
                observed=report.run_id,
                expected=f"{run_id}, the run that trained the model",
                why=""
                if same
                else f"{name} ran in another run than train, perhaps on other code; "
                "use 'ml-pipeline run all', or the same --run-id",
            )
        )
    return checks
