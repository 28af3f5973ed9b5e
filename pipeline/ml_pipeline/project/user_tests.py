"""The project's own tests of its data, its model and its deployed API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ml_pipeline.config import Project
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.project.protected_files import Protected
from ml_pipeline.project.pytest_runner import Case, PytestRun, Request, run_pytest, write_junit

Kind = Literal["data", "model", "staging"]

STAGES: Mapping[Kind, str] = {"data": "validate-data", "model": "evaluate", "staging": "verify"}
COMPARISON = "the comparison to hold; the gate enforces it"
"""``expected`` of the checks of tests that use ``baseline_model``."""


def run_user_tests(
    project: Project,
    workdir: Workdir,
    folder: Path,
    kind: Kind,
    inputs: Mapping[str, str],
    protected: Protected | None = None,
) -> list[Check]:
    """Run pytest on ``folder`` and return one check for each test, named by its node id.

    ``inputs`` are the inputs of the fixtures, each a path or a text:

    ======== =====================================================================================
    data     ``df``: Parquet file with the clean rows in the source's own column names
    model    ``model``: model.onnx, ``schema``: schema.json, ``holdout``: holdout.parquet,
             ``predictions``: Parquet file with a column of predictions for each predictor, in
             the holdout's row order, ``baseline``: the column of ``baseline_model``'s predictions
             (the champion's, else the best heuristic's), ``profile``: quick or full,
             ``training``: training.json, which records the task
    staging  ``endpoint``: the URL
    ======== =====================================================================================

    Without the folder the project has no such tests, and no checks are returned. With it, at least
    one test must run: no tests, only skipped ones, a crash of pytest, and collected tests that did
    not run never pass.

    A test that uses ``baseline_model`` is a comparison: its failed assertion is advisory here
    (``is_comparison``), and skipped for a quick model. A crash of such a test fails.

    The tests get copies of the files. A further check fails if they changed files of ``protected``,
    by default the working folder and the project's code.

    JUnit goes to ``junit/<stage>-user.xml``, pytest's output to ``reports/<stage>-user.txt``.

    Raises:
        EnvironmentFault: pytest cannot be started.
    """
    stage = STAGES[kind]
    junit, log = workdir / f"junit/{stage}-user.xml", workdir / f"reports/{stage}-user.txt"
    junit.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    if not project.path(folder).exists():
        return []
    protected = protected or Protected(project, workdir)
    run = run_pytest(project, Request(kind, folder, log, inputs), protected)
    quick = inputs.get("profile") == "quick"
    checks = [_check(case, quick=quick) for case in run.cases]
    run_check = _whole_run(folder, run)
    checks += [check for check in (run_check, protected.check()) if check is not None]
    write_junit(_shown(run.cases, checks), f"{stage}-user", junit)
    return checks


def is_comparison(check: Check) -> bool:
    """Return whether a check of the evaluate report is a comparison that the gate enforces."""
    return check.expected == COMPARISON


def _check(case: Case, *, quick: bool) -> Check:
    compares = case.compares and (
        case.outcome in ("passed", "skipped") or case.exception in ("AssertionError", "Failed")
    )
    verdict = {
        "passed": Verdict.PASS,
        "failed": Verdict.FAIL,
        "error": Verdict.ERROR,
        "skipped": Verdict.SKIPPED,
    }[case.outcome]
    why = case.why
    if compares and quick and verdict is Verdict.FAIL:
        verdict, why = Verdict.SKIPPED, f"a quick model is not compared: {why}"
    return Check(
        name=case.name,
        verdict=verdict,
        required=not compares,
        observed=case.outcome,
        expected=COMPARISON if compares else "the test to pass",
        why=why,
    )


def _whole_run(folder: Path, run: PytestRun) -> Check | None:
    """Return a check that does not pass if the run as a whole tested nothing."""
    if run.faults:
        return Check(
            name=f"{folder.as_posix()} as a whole",
            verdict=Verdict.FAIL if run.exit_code in (0, 1, 5) else Verdict.ERROR,
            observed=run.faults[0],
            expected="every test of the folder to run",
            why=f"{run.faults[0]}; see {run.log}: {run.tail}"[:1500],
        )
    if run.count("skipped") == len(run.cases):
        return Check(
            name=f"{folder.as_posix()} as a whole",
            verdict=Verdict.INCONCLUSIVE,
            observed=f"all of {len(run.cases)} tests skipped",
            expected="at least one test to run",
            why=f"every test in {folder} was skipped, so nothing was tested",
        )
    return None


def _shown(cases: tuple[Case, ...], checks: list[Check]) -> list[Case]:
    """Return the cases for JUnit, with failed advisory tests as skipped."""
    shown = []
    for case, check in zip(cases, checks, strict=False):
        advisory = not check.required and case.outcome in ("failed", "error")
        shown.append(replace(case, outcome="skipped", why=check.why) if advisory else case)
    whole = [Case(check.name, "failed", check.why, check.why) for check in checks[len(cases) :]]
    return shown + whole
