"""Stage ``validate-data``: read the data, test it, set bad rows and cells aside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.config import Source
from ml_pipeline.core import artefacts
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Check
from ml_pipeline.core.workdir import write_text
from ml_pipeline.data import parquet
from ml_pipeline.data.accepted_profile import ACCEPTED
from ml_pipeline.data.sources import to_source_columns
from ml_pipeline.data.validated_source import ValidatedSource, validate_source
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import ValidateDataFlags

if TYPE_CHECKING:
    import pandas as pd

CI_SAMPLE = 2500
USERS_VIEW = "data/df.parquet"


def run(context: Context[ValidateDataFlags]) -> Outcome:
    """Test the data of the project; see docs/reference/data-tests.md."""
    problem = load_problem(context.config.problem, context.project.root)
    source, sample_size = _source(context)
    validated = validate_source(
        source,
        sample_size,
        project=context.project,
        problem=problem,
        accepted=context.home / ACCEPTED,
        is_sample=context.quick or sample_size is not None or context.flags.ci_data,
        progress=context.progress,
    )
    outputs = _write(context, validated)
    checks = [*validated.checks]
    if len(validated.validation.clean):
        checks += _project_tests(context, validated.validation.clean)
    return Outcome(
        summary=validated.summarize(checks),
        checks=checks,
        metrics=validated.metrics,
        outputs=outputs,
    )


def _source(context: Context[ValidateDataFlags]) -> tuple[Source, int | None]:
    """Return the source to read, and how many rows of it at most."""
    data, size = context.config.data, context.flags.sample_size
    if size is not None and size < 1:
        raise UsageError(f"--sample-size {size}", expected="1 or more")
    if not context.flags.ci_data:
        return data.source, size
    if data.ci is not None:
        return data.ci, size
    return data.source, CI_SAMPLE if size is None else size


def _write(context: Context[ValidateDataFlags], validated: ValidatedSource) -> list[Path]:
    workdir, validation = context.workdir, validated.validation
    context.progress("writing the clean rows", 0.9)
    figures = json.dumps(validated.profile, indent=2, sort_keys=True) + "\n"
    return [
        parquet.write(workdir / artefacts.CLEAN, validation.clean),
        parquet.write(workdir / artefacts.QUARANTINE, validation.quarantine),
        write_text(workdir / artefacts.PROFILE, figures),
    ]


def _project_tests(context: Context[ValidateDataFlags], clean: pd.DataFrame) -> Sequence[Check]:
    """Run the project's own data tests on the clean rows, in the source's column names."""
    folder = context.config.tests.data
    if not context.project.path(folder).exists():
        return []
    from ml_pipeline.project import isolation
    from ml_pipeline.project.protected_files import Protected
    from ml_pipeline.project.user_tests import run_user_tests

    context.progress(f"tests in {folder}", 0.95)
    view = parquet.write(
        context.workdir / USERS_VIEW, to_source_columns(clean, context.config.data)
    )
    places = Protected(context.project, context.workdir, context.home)
    checks = run_user_tests(
        context.project, context.workdir, folder, "data", {"df": str(view)}, places
    )
    return [*checks, *isolation.check(checks)]
