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
"""``expected`` of the checks of tests that take ``baseline_model``."""


def run_user_tests(
    project: Project,
    workdir: Workdir,
    folder: Path,
    kind: Kind,
    inputs: Mapping[str, str],
    protected: Protected | None = None,
) -> list[Check]:
    """Run pytest on ``folder`` and return one check for each test, named by its node id.

    ``inputs`` is what the fixtures are made of, each value a path or a text:

    ======== =====================================================================================
    data     ``df``: Parquet file with the clean rows in the source's own column names
    model    ``model``: model.onnx, ``schema``: schema.json, ``holdout``: holdout.parquet,
             ``predictions``: Parquet file with a column of predictions for each predictor, in
             the holdout's row order, ``baseline``: the column that ``baseline_model`` answers with
             (the champion's, else the best heuristic's), ``profile``: quick or full,
             ``training``: training.json, which records the task
    staging  ``endpoint``: the URL
    ======== =====================================================================================

    A folder that is not there means that the project has no such tests: no checks. A folder that
    is there must hold a test that ran: no tests, only skipped ones, a crash of pytest, or tests
    that were collected and not run are never a pass.

    A test that takes ``baseline_model`` compares: its failed assertion is shown, not required
    here (``is_comparison``), and skipped for a quick model. A crash in such a test is required.

    The tests get copies of the files. A check of its own fails where they wrote what ``protected``
    names, by default the working folder and the project's code.

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
    found = run_pytest(project, Request(kind, folder, log, inputs), protected)
    quick = inputs.get("profile") == "quick"
    checks = [_check(case, quick=quick) for case in found.cases]
    run_check = _whole_run(folder, found)
    checks += [check for check in (run_check, protected.check()) if check is not None]
    write_junit(_shown(found.cases, checks), f"{stage}-user", junit)
    return checks


def is_comparison(check: Check) -> bool:
    """Tell whether a check of the evaluate report is a comparison test that the gate enforces."""
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


def _whole_run(folder: Path, found: PytestRun) -> Check | None:
    """Return a check that does not pass where the run as a whole tested nothing."""
    if found.faults:
        return Check(
            name=f"{folder.as_posix()} as a whole",
            verdict=Verdict.FAIL if found.exit_code in (0, 1, 5) else Verdict.ERROR,
            observed=found.faults[0],
            expected="every test of the folder to run",
            why=f"{found.faults[0]}; see {found.log}: {found.tail}"[:1500],
        )
    if found.count("skipped") == len(found.cases):
        return Check(
            name=f"{folder.as_posix()} as a whole",
            verdict=Verdict.INCONCLUSIVE,
            observed=f"all of {len(found.cases)} tests skipped",
            expected="at least one test to run",
            why=f"every test in {folder} was skipped, so nothing was tested",
        )
    return None


def _shown(cases: tuple[Case, ...], checks: list[Check]) -> list[Case]:
    """Return the cases as JUnit shows them: what is not required never fails a build."""
    shown = []
    for case, check in zip(cases, checks, strict=False):
        softened = not check.required and case.outcome in ("failed", "error")
        shown.append(replace(case, outcome="skipped", why=check.why) if softened else case)
    whole = [Case(check.name, "failed", check.why, check.why) for check in checks[len(cases) :]]
    return shown + whole
