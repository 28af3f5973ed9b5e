"""Stage ``test``: the project's unit tests with coverage."""

from __future__ import annotations

from ml_pipeline.project.unit_tests import run_unit_tests
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.record import NoFlags


def run(context: Context[NoFlags]) -> Outcome:
    context.progress("unit tests", 0.0)
    result = run_unit_tests(context.project, context.workdir, context.home)
    metrics = dict(result.tests) | (
        {} if result.coverage is None else {"coverage": result.coverage}
    )
    outputs = [context.workdir / "reports/coverage.xml"] if result.coverage is not None else []
    return Outcome(
        result.headline, result.checks, metrics, [path for path in outputs if path.exists()]
    )
