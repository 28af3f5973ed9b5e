"""Read and test a source, and split it into clean and quarantined rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import Project, Source
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Check, Progress
from ml_pipeline.data.accepted_profile import check_distribution, missing_column
from ml_pipeline.data.fingerprint import profile
from ml_pipeline.data.observations import observe
from ml_pipeline.data.rules import columns_of, frame_tests, lines_tolerance, row_tests
from ml_pipeline.data.sampling import sample_newest
from ml_pipeline.data.sources import (
    date_columns,
    read_source,
    text_columns,
    to_problem_columns,
)
from ml_pipeline.data.validation import (
    Origin,
    Validation,
    check_frame,
    independent_tests,
    validate,
)
from ml_pipeline.data.validation_summary import span_of, summarize
from ml_pipeline.tasks.loader import load_task

if TYPE_CHECKING:
    from ml_pipeline.problem import Problem


@dataclass(frozen=True)
class ValidatedSource:
    """The tested rows of a source."""

    rows: int
    """Rows of the source, including unreadable lines."""
    validation: Validation
    checks: list[Check]
    profile: dict[str, Any]
    """Of the clean rows; columns that the problem does not use are marked ``left_out``."""
    entity: str | None
    time: str | None

    @property
    def metrics(self) -> dict[str, Any]:
        clean = self.validation.clean
        return {
            "rows": self.rows,
            "rows_clean": len(clean),
            "rows_quarantined": len(self.validation.quarantine),
            "blanked": dict(self.validation.blanked),
            "fingerprint": self.profile["fingerprint"],
            **span_of(clean, self.entity, self.time),
        }

    def summarize(self, checks: list[Check]) -> str:
        return summarize(self.rows, self.validation, checks)


def validate_source(
    section: Source,
    sample_size: int | None,
    *,
    project: Project,
    problem: Problem,
    accepted: Path,
    is_sample: bool,
    progress: Progress,
) -> ValidatedSource:
    """Read a source and test its rows.

    Args:
        section: the source.
        sample_size: number of newest rows to keep at most; None for all.
        project: configures columns, tests and tolerances.
        problem: the problem whose columns the source's are mapped to.
        accepted: the profile of the last accepted data.
        is_sample: whether the source is a sample, which is not compared with it.
        progress: called with the current step and the share done.

    Raises:
        UsageError: the source cannot be read, or lacks a column.
        EnvironmentFault: the profile of the last accepted data cannot be read.
    """
    data = project.config.data
    progress("reading the data", 0.0)
    source = read_source(section, project, text_columns(problem, data), date_columns(problem, data))
    try:
        frame = to_problem_columns(source.frame, problem, data, project)
    except UsageError as error:
        if missing := missing_column(accepted, data, problem, source.frame.columns):
            raise UsageError(str(error), details=missing) from None
        raise
    entity, time = problem.entity_column, problem.time_column
    observed = observe(source, frame, problem, data)
    if sample_size is not None:
        frame = sample_newest(frame, sample_size, entity, time)
    today = datetime.now(UTC).date()
    names = list(frame.columns)
    binary = load_task(project.config.problem.task).objective.kind == "binary"
    tests = row_tests(problem, data, names, today)
    validation = validate(
        frame,
        columns_of(problem, names),
        tests,
        entity=entity,
        time=time,
        progress=progress,
        origin=Origin(
            source,
            data.columns,
            problem.label_column if binary else None,
            {column.name for column in problem.columns()},
            lines_tolerance(data),
            source.date_format,
        ),
    )
    clean_profile = _profile(validation, problem)
    checks = [*validation.checks, *observed]
    if len(frame):
        columns = [column for column in problem.columns() if column.name in names]
        whole = frame_tests(columns, time, data, today, problem.label_column, binary=binary)
        whole = independent_tests(validation, tests, whole)
        checks += check_frame(validation.clean, whole)
        if whole:
            checks += check_distribution(accepted, validation.clean, data, is_sample=is_sample)
    rows = len(frame) + len(source.unread)
    return ValidatedSource(rows, validation, checks, clean_profile, entity, time)


def _profile(validation: Validation, problem: Problem) -> dict[str, Any]:
    clean_profile = profile(validation.clean)
    used = {column.name for column in columns_of(problem, list(validation.clean.columns))}
    for name in clean_profile["columns"].keys() - used:
        clean_profile["columns"][name]["left_out"] = True
    return clean_profile
