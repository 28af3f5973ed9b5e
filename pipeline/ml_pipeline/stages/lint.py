"""Stage ``lint``: the project's formatters and linters."""

from __future__ import annotations

from ml_pipeline.project import isolation
from ml_pipeline.project.linting import check_of_command, lint
from ml_pipeline.project.protected_files import Protected
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.record import NoFlags


def run(context: Context[NoFlags]) -> Outcome:
    protected = Protected(context.project, context.workdir, context.home)
    results = lint(context.project, context.workdir, context.progress, protected)
    checks = [check_of_command(result) for result in results]
    if (tampered := protected.check()) is not None:
        checks.append(tampered)
    checks += isolation.check(checks)
    failed = [check for check, result in zip(checks, results, strict=False) if not result.passed]
    if failed:
        summary = "; ".join(f"{check.name}: {check.observed}, {check.why}" for check in failed)
    else:
        summary = f"{', '.join(result.name for result in results)}: no findings"
    counts = {result.name: len(result.findings) for result in results}
    return Outcome(summary, checks, metrics={"findings": counts})
