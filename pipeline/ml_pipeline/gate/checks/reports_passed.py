"""Whether each stage's report shows that this very model passed it; an absent one does not."""

from __future__ import annotations

from collections.abc import Sequence

from ml_pipeline.core.report import Check, ModelRef, Profile, StageReport, Verdict, judge
from ml_pipeline.gate.checks.base import GateCheck
from ml_pipeline.gate.model_comparison import ModelComparison


class ReportsPassed(GateCheck):
    """Every required report is there and passed; the others are shown as advisory checks."""

    name = "reports of the stages"

    def judge(self, comparison: ModelComparison) -> Sequence[Check]:
        model, without = comparison.model, comparison.stages_without_model
        required = [
            check_report(name, report, model, names_model=name not in without)
            for name, report in comparison.reports.items()
        ]
        return [
            *summarize_passed(required),
            *(
                advisory_check(name, report, model, names_model=name not in without)
                for name, report in comparison.advisory_reports.items()
            ),
        ]


NO_MODEL = "no model named"
UNNAMED = (
    "its report names no model, so it may be about another model; run() of the stage returns "
    "Outcome(model=...), or its record has names_model=False"
)


def check_report(
    name: str, report: StageReport | None, model: ModelRef, *, names_model: bool = True
) -> Check:
    """Return whether a required report is there, passed, of the full profile and of this model.

    The verdict is computed again from the checks, so a report with verdict ``pass`` over a crashed
    or empty set of checks fails. With ``names_model`` a report without a model fails.
    """
    if report is None:
        return _check(name, Verdict.INCONCLUSIVE, "no report", f"{name} has not run")
    stage = " ".join(filter(None, (report.stage, report.environment)))
    if stage != name:
        return _check(name, Verdict.FAIL, f"report of {stage}", f"{stage} is not {name}")
    judged = judge(report.checks)
    if report.verdict is not Verdict.PASS:
        verdict = Verdict.ERROR if report.verdict is Verdict.ERROR else Verdict.FAIL
        return _check(name, verdict, str(report.verdict), f"{name}: {report.summary}")
    if judged is not Verdict.PASS:
        verdict = Verdict.ERROR if judged is Verdict.ERROR else Verdict.FAIL
        return _check(
            name,
            verdict,
            f"verdict pass, but its checks give {judged}",
            f"{name} has the verdict pass, which its {len(report.checks)} checks contradict",
        )
    if report.profile is not Profile.FULL:
        return _check(name, Verdict.FAIL, f"profile {report.profile}", f"{name} was a quick run")
    other = _other_model(report, model, names_model=names_model)
    if other:
        why = f"{name} was about another model; run it again"
        return _check(name, Verdict.FAIL, other, UNNAMED if other == NO_MODEL else why)
    if report.metrics.get("required") is False:
        return _check(
            name, Verdict.FAIL, "advisory limits", f"{name} ran with limits that stop nothing"
        )
    return Check(
        name=f"report of {name}",
        verdict=Verdict.PASS,
        observed="pass",
        expected="a full run of this model that passed",
    )


def summarize_passed(checks: Sequence[Check]) -> list[Check]:
    """Return the checks of required reports, with those that passed as one; others come first."""
    passed = [check for check in checks if check.verdict is Verdict.PASS]
    others = [check for check in checks if check.verdict is not Verdict.PASS]
    if not passed:
        return others
    names = ", ".join(check.name.removeprefix("report of ") for check in passed)
    one = Check(
        name="reports of the stages",
        verdict=Verdict.PASS,
        observed=f"{len(passed)} of {len(checks)} passed: {names}",
        expected="full runs of this model that passed",
    )
    return [*others, one]


def advisory_check(
    name: str, report: StageReport | None, model: ModelRef, *, names_model: bool = True
) -> Check:
    """Return an advisory check of a report that the project does not require.

    Its verdict is that of the stage's own limits, which were advisory there too.
    """
    plain = None if report is None else report.model_copy(update={"metrics": {}})
    check = check_report(name, plain, model, names_model=names_model)
    if report is not None and check.verdict is Verdict.PASS:
        every = [one.model_copy(update={"required": True}) for one in report.checks]
        check = check.model_copy(update={"verdict": judge(every), "observed": report.summary})
    return check.model_copy(update={"required": False})


def _other_model(report: StageReport, candidate: ModelRef, *, names_model: bool) -> str:
    """Return which other model a report is about; empty where it is about this one."""
    model = report.model
    if model is None or not (model.identity or model.digest):
        return NO_MODEL if names_model else ""
    if model.identity and model.identity != candidate.identity:
        return f"identity {model.identity[:12]}, not {candidate.identity[:12]}"
    if model.digest and model.digest != candidate.digest:
        return f"digest {model.digest[:12]}, not {candidate.digest[:12]}"
    return ""


def _check(name: str, verdict: Verdict, observed: str, why: str) -> Check:
    return Check(
        name=f"report of {name}",
        verdict=verdict,
        observed=observed,
        expected="a full run of this model that passed",
        why=why,
    )
