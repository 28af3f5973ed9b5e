"""Do the reports show that this very model passed every stage? What is absent never does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ml_pipeline.core.report import Check, Profile, StageReport, Verdict, judge

WITHOUT_MODEL = frozenset({"lint", "test", "validate-data"})
"""Stages before there is a model; every other report has to say which one it is about."""

OF_THE_CODE = ("lint", "test")
"""Stages that make no file that another reads: only their run ties them to the model."""


@dataclass(frozen=True)
class Candidate:
    """The challenger as the registry knows it."""

    identity: str
    digest: str


def check_report(name: str, report: StageReport | None, candidate: Candidate) -> Check:
    """Return whether a required report is there, passed, of the full profile and of this model.

    The verdict is made again from the checks: a report that calls itself passed over a crashed or
    empty set of checks is not believed.
    """
    if report is None:
        return _check(name, Verdict.INCONCLUSIVE, "no report", f"{name} has not run")
    told = " ".join(filter(None, (report.stage, report.environment)))
    if told != name:
        return _check(name, Verdict.FAIL, f"report of {told}", f"{told} is not {name}")
    judged = judge(report.checks)
    if report.verdict is not Verdict.PASS:
        verdict = Verdict.ERROR if report.verdict is Verdict.ERROR else Verdict.FAIL
        return _check(name, verdict, str(report.verdict), f"{name}: {report.summary}")
    if judged is not Verdict.PASS:
        verdict = Verdict.ERROR if judged is Verdict.ERROR else Verdict.FAIL
        return _check(
            name,
            verdict,
            f"pass, with checks that amount to {judged}",
            f"{name} calls itself passed, and its {len(report.checks)} checks do not say so",
        )
    if report.profile is not Profile.FULL:
        return _check(name, Verdict.FAIL, f"profile {report.profile}", f"{name} was a quick run")
    other = _other_model(report, candidate)
    if other:
        return _check(name, Verdict.FAIL, other, f"{name} was about another model; run it again")
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


def as_one(checks: Sequence[Check]) -> list[Check]:
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


def show_report(name: str, report: StageReport | None, candidate: Candidate) -> Check:
    """Return an advisory check of a report that the project does not require.

    What the stage's own limits say is shown, though they stopped nothing there either.
    """
    told = None if report is None else report.model_copy(update={"metrics": {}})
    check = check_report(name, told, candidate)
    if report is not None and check.verdict is Verdict.PASS:
        every = [one.model_copy(update={"required": True}) for one in report.checks]
        check = check.model_copy(update={"verdict": judge(every), "observed": report.summary})
    return check.model_copy(update={"required": False})


def check_lineage(reports: Mapping[str, StageReport | None]) -> Check:
    """Return whether every file that one stage reports is the file that the others read."""
    made: dict[str, tuple[str, str]] = {}
    for name, report in reports.items():
        for path, digest in (report.outputs if report else {}).items():
            made[path] = (name, digest)
    followed, broken = 0, []
    for name, report in reports.items():
        for path, digest in (report.inputs if report else {}).items():
            if path in made and made[path][1] != digest:
                broken.append(f"{name} read another {path} than {made[path][0]} made")
            followed += path in made
    verdict = Verdict.FAIL if broken else Verdict.PASS if followed else Verdict.INCONCLUSIVE
    return Check(
        name="files from stage to stage",
        verdict=verdict,
        observed=broken[0] if broken else f"{followed} files followed",
        expected="the same SHA-256 wherever a file is made and read",
        why="run the delivery again from the stage that made it" if broken else "",
    )


def check_run(reports: Mapping[str, StageReport | None]) -> list[Check]:
    """Return whether lint and test, where they are required, are of the run that trained.

    Nothing in their reports says which code they saw, so those of another run may be of other code.
    """
    train = reports.get("train")
    wanted = train.run_id if train else None
    checks = []
    for name in OF_THE_CODE:
        report = reports.get(name)
        if report is None:
            continue
        same = report.run_id == wanted
        checks.append(
            Check(
                name=f"run of {name}",
                verdict=Verdict.PASS if same else Verdict.FAIL,
                observed=report.run_id,
                expected=f"{wanted}, the run that trained the model",
                why=""
                if same
                else f"{name} ran in another run than train, perhaps on other code; "
                "use 'ml-pipeline run all', or the same --run-id",
            )
        )
    return checks


def check_comparisons(report: StageReport | None, expected: str) -> list[Check]:
    """Return the project's comparison tests of evaluate's report, as required checks.

    Args:
        report: That of evaluate, which only shows them.
        expected: What marks such a check (``ml_pipeline.project.user_tests.COMPARISON``).
    """
    return enforced(
        check for check in (report.checks if report else ()) if check.expected == expected
    )


def enforced(checks: Iterable[Check]) -> list[Check]:
    """Return the checks as required ones; one that was skipped has shown nothing."""
    return [
        check.model_copy(
            update={
                "required": True,
                "verdict": Verdict.INCONCLUSIVE
                if check.verdict is Verdict.SKIPPED
                else check.verdict,
            }
        )
        for check in checks
    ]


def _other_model(report: StageReport, candidate: Candidate) -> str:
    """Return which other model a report is about, or nothing."""
    model = report.model
    if model is None or not (model.identity or model.digest):
        return "" if report.stage in WITHOUT_MODEL else "no model named"
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
