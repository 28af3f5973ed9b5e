"""The project's unit tests, with coverage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_pipeline.config import Project, TestSection
from ml_pipeline.core import documents
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, Verdict, first_failure, junit_names
from ml_pipeline.core.workdir import Workdir, write_bytes
from ml_pipeline.project import isolation
from ml_pipeline.project.protected_files import Protected
from ml_pipeline.project.pytest_runner import (
    NO_TESTS,
    OUTCOMES,
    Case,
    PytestRun,
    Request,
    run_pytest,
    write_junit,
)
from ml_pipeline.training.estimators.loader import is_own

SHOWN = 5
"""Failing tests, or files without full coverage, in the message of a check."""


@dataclass(frozen=True)
class UnitTests:
    """The checks and counts of a run of unit tests."""

    checks: list[Check]
    tests: dict[str, int]
    coverage: float | None
    """Line coverage in per cent; None if it was not measured."""
    headline: str
    """The first failure in one line, else the counts."""


def run_unit_tests(project: Project, workdir: Workdir, home: Home | None = None) -> UnitTests:
    """Run pytest on ``test.path`` with coverage of ``test.sources``.

    A project without tests and without a ``test`` section is skipped. Without ``test.sources`` the
    top-level packages of ``features.modules`` are measured. Writes ``junit/test.xml``,
    ``reports/coverage.xml`` (Cobertura) and ``reports/test.txt``.

    Raises:
        UsageError: the folder does not exist, or ``test.coverage`` is set without sources.
        EnvironmentFault: pytest cannot be started.
    """
    section = project.config.test
    if not project.path(section.path).exists():
        if section == TestSection():
            none = _no_tests(section.path)
            return UnitTests([none], {}, None, str(none.observed))
        raise UsageError(
            f"test.path: {project.path(section.path)} does not exist",
            expected="a folder with unit tests",
            hint="create it, or set test.path",
        )
    sources = section.sources or tuple(
        dict.fromkeys(name.partition(".")[0] for name in _own_modules(project))
    )
    if section.coverage and not sources:
        raise UsageError(
            f"test.coverage is {section.coverage:g} and test.sources is not set",
            hint="set test.sources, for example [features]",
        )
    xml = workdir / "reports/coverage.xml"
    xml.unlink(missing_ok=True)
    request = Request(
        kind="unit",
        tests=section.path,
        log=workdir / "reports/test.txt",
        measure=sources,
        args=section.args,
    )
    protected = Protected(project, workdir, home)
    run = run_pytest(project, request, protected)
    if run.coverage_xml is not None:
        write_bytes(xml, run.coverage_xml)
    checks = [_tests(run)]
    coverage = None
    if sources:
        files, coverage = _coverage(run.coverage)
        checks.append(_covered(files, coverage, section.coverage))
    if (changed_files := protected.check()) is not None:
        checks.append(changed_files)
    checks += isolation.check(checks)
    cases = [*run.cases, *(_case(check) for check in checks if _needs_case(check, run))]
    write_junit(cases, "test", workdir / "junit/test.xml")
    counts = {str(outcome): run.count(outcome) for outcome in OUTCOMES}
    return UnitTests(checks, counts, coverage, _headline(run, checks, coverage))


def _own_modules(project: Project) -> tuple[str, ...]:
    """Return the modules that the configuration names: of features, and of an own estimator."""
    estimator = project.config.train.estimator
    own = (estimator.partition(":")[0],) if is_own(estimator) else ()
    return (*project.config.features.modules, *own)


def _headline(run: PytestRun, checks: list[Check], coverage: float | None) -> str:
    bad = [case for case in run.cases if case.outcome in ("failed", "error")]
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        test = junit_names("test", bad[0].name)["name"]
        return f"{len(bad)} of {len(run.cases)} failed: {test}: {bad[0].why}{more}"
    failed = first_failure(checks)
    if failed is not None:
        counts = f"{failed.observed}: " if failed.name == "unit tests" else ""
        return f"{counts}{failed.why}"
    return f"{checks[0].observed}" + ("" if coverage is None else f", coverage {coverage:.0f} %")


def _no_tests(path: Path) -> Check:
    return Check(
        name="unit tests",
        verdict=Verdict.SKIPPED,
        observed=f"no folder {path}",
        expected="a folder with unit tests",
        why=f"the project has no {path}",
    )


def _tests(run: PytestRun) -> Check:
    bad = [case for case in run.cases if case.outcome in ("failed", "error")]
    observed = ", ".join(
        f"{run.count(outcome)} {'in error' if outcome == 'error' else outcome}"
        for outcome in OUTCOMES
        if run.count(outcome) or outcome == "passed"
    )
    if bad:
        lines = [f"{case.name}: {case.why}" for case in bad[:SHOWN]]
        if len(bad) > SHOWN:
            lines.append(f"and {len(bad) - SHOWN} more, see {run.log}")
        verdict, why = Verdict.FAIL, "; ".join(lines)
    elif run.faults:
        verdict = Verdict.FAIL if run.exit_code in (0, 1, NO_TESTS) else Verdict.ERROR
        why = f"{run.faults[0]}; see {run.log}: {run.tail}"[:1500]
    elif not run.count("passed"):
        verdict, why = Verdict.INCONCLUSIVE, "every test was skipped, so nothing was tested"
    else:
        verdict, why = Verdict.PASS, ""
    return Check(
        name="unit tests",
        verdict=verdict,
        observed=observed,
        expected="every test to pass, and at least one",
        why=why,
    )


def _coverage(detail: bytes | None) -> tuple[dict[str, Any], float | None]:
    """Return the entries of coverage.py by file, and the line coverage in per cent.

    Nothing if the file is not valid: the tests could write it.
    """
    if detail is None:
        return {}, None
    try:
        content = documents.parse_json(detail, "coverage")
        files, totals = dict(content["files"]), content["totals"]
        lines, covered = int(totals["num_statements"]), int(totals["covered_lines"])
        for item in files.values():
            int(item["summary"]["missing_lines"])
    except (DocumentError, KeyError, TypeError, ValueError):
        return {}, None
    return (files, 100.0 * covered / lines) if lines > 0 else ({}, None)


def _covered(files: dict[str, Any], coverage: float | None, least: float) -> Check:
    expected = f"at least {least:g} % of the lines"
    if coverage is None:
        return Check(
            name="coverage",
            verdict=Verdict.FAIL if least else Verdict.SKIPPED,
            observed="nothing measured",
            expected=expected,
            why="no statement of test.sources was measured",
        )
    uncovered = sorted(
        ((item["summary"]["missing_lines"], name) for name, item in files.items()), reverse=True
    )
    named = [f"{name}: {n} lines not run" for n, name in uncovered[:SHOWN] if n]
    passed = coverage >= least
    return Check(
        name="coverage",
        verdict=Verdict.PASS if passed else Verdict.FAIL,
        observed=round(coverage, 2),
        expected=expected,
        why="" if passed else f"{coverage:.2f} % is below {least:g} %; {'; '.join(named)}",
    )


def _needs_case(check: Check, run: PytestRun) -> bool:
    """Return whether JUnit needs a case for a failed check that no failed test explains."""
    return check.verdict.blocks and not (
        check.name == "unit tests" and (run.count("failed") or run.count("error"))
    )


def _case(check: Check) -> Case:
    return Case(check.name, "failed", check.why, f"observed {check.observed}. {check.why}")
