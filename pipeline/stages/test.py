"""Stage ``test``: the project's unit tests with coverage."""

from __future__ import annotations

from pipeline.project.unit_tests import run_unit_tests
from pipeline.report import Verdict
from pipeline.stages.context import Context, Outcome


def run(context: Context) -> Outcome:
    context.progress("unit tests", 0.0)
    result = run_unit_tests(context.project, context.workdir)
    bad = [check for check in result.checks if check.verdict not in (Verdict.PASS, Verdict.SKIPPED)]
    if bad:
        summary = f"{bad[0].observed}: {bad[0].why}" if bad[0].name == "unit tests" else bad[0].why
    else:
        summary = str(result.checks[0].observed)
        if result.coverage is not None:
            summary += f", coverage {result.coverage:.0f} %"
    metrics = dict(result.tests) | (
        {} if result.coverage is None else {"coverage": result.coverage}
    )
    outputs = [context.workdir / "reports/coverage.xml"] if result.coverage is not None else []
    return Outcome(summary, result.checks, metrics, [path for path in outputs if path.exists()])
