"""Stage ``validate-data``: read the data, test it, set bad rows and cells aside."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import Source
from ml_pipeline.core import documents
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.core.workdir import atomic_path, write_text
from ml_pipeline.data.fingerprint import profile
from ml_pipeline.data.observations import notes_of, observe
from ml_pipeline.data.rules import (
    LINES,
    columns_of,
    distribution_tests,
    frame_tests,
    lines_tolerance,
    row_tests,
)
from ml_pipeline.data.sampling import sample_newest
from ml_pipeline.data.sources import (
    date_columns,
    read_source,
    text_columns,
    to_problem_columns,
    to_source_columns,
)
from ml_pipeline.data.validation import (
    REMEDY,
    Origin,
    Validation,
    check_frame,
    independent_tests,
    validate,
)
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import ValidateDataFlags

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.problem import Problem

CI_SAMPLE = 2500
ACCEPTED = "accepted/profile.json"
CLEAN, QUARANTINE, PROFILE = "data/clean.parquet", "data/quarantine.parquet", "data/profile.json"
COPIES = "rows_distinct"
USERS_VIEW = "data/df.parquet"


@dataclass(frozen=True)
class _Request:
    source: Source
    sample: int | None


def run(context: Context[ValidateDataFlags]) -> Outcome:
    """Test the data of the project; see docs/reference/data-tests.md."""
    data = context.config.data
    problem = load_problem(context.config.problem, context.project.root)
    request = _request(context)
    context.progress("reading the data", 0.0)
    source = read_source(
        request.source, context.project, text_columns(problem, data), date_columns(problem, data)
    )
    try:
        frame = to_problem_columns(source.frame, problem, data, context.project)
    except UsageError as error:
        if needed := _had_in_production(context, problem, source.frame.columns):
            raise UsageError(str(error), details=needed) from None
        raise
    entity, time = problem.entity_column, problem.time_column
    observed = observe(source, frame, problem, data)
    if request.sample is not None:
        frame = sample_newest(frame, request.sample, entity, time)
    today = datetime.now(UTC).date()
    columns = [column for column in problem.columns() if column.name in frame.columns]
    tests = row_tests(problem, data, list(frame.columns), today)
    found = validate(
        frame,
        columns_of(problem, list(frame.columns)),
        tests,
        entity=entity,
        time=time,
        progress=context.progress,
        origin=Origin(
            source,
            data.columns,
            problem.label_column,
            {column.name for column in problem.columns()},
            lines_tolerance(data),
            source.date_format,
        ),
    )
    figures = _profile(found.clean, problem)
    checks = [*found.checks, *observed]
    if len(frame):
        whole = frame_tests(columns, time, data, today, problem.label_column)
        whole = independent_tests(found, tests, whole)
        checks += check_frame(found.clean, whole)
        if whole:
            checks += _against_accepted(context, request, found.clean)
    outputs = _write(context, found, figures)
    if len(found.clean):
        checks += _users_tests(context, found.clean)
    return Outcome(
        summary=_summary(len(frame) + len(source.unread), found, checks),
        checks=checks,
        metrics={
            "rows": len(frame) + len(source.unread),
            "rows_clean": len(found.clean),
            "rows_quarantined": len(found.quarantine),
            "blanked": dict(found.blanked),
            "fingerprint": figures["fingerprint"],
            **_span(found.clean, entity, time),
        },
        outputs=outputs,
    )


def _profile(clean: pd.DataFrame, problem: Problem) -> dict[str, Any]:
    """Return the profile of the clean rows; columns that are no features are marked left_out."""
    figures = profile(clean)
    used = {column.name for column in columns_of(problem, list(clean.columns))}
    for name in figures["columns"].keys() - used:
        figures["columns"][name]["left_out"] = True
    return figures


def _request(context: Context[ValidateDataFlags]) -> _Request:
    data = context.config.data
    sample = context.flags.sample_size
    if sample is not None and sample < 1:
        raise UsageError(f"--sample-size {sample}", expected="1 or more")
    if not context.flags.ci_data:
        return _Request(data.source, sample)
    if data.ci is not None:
        return _Request(data.ci, sample)
    return _Request(data.source, CI_SAMPLE if sample is None else sample)


def _against_accepted(
    context: Context[ValidateDataFlags], request: _Request, clean: pd.DataFrame
) -> Sequence[Check]:
    """Compare with the data of the version in production, where all data was read."""
    path = context.home / ACCEPTED
    if context.quick or request.sample is not None or context.flags.ci_data:
        why = "a sample is not compared with the last accepted data"
    elif not path.is_file():
        why = "no data has been accepted yet"
    else:
        accepted = {
            name: figures
            for name, figures in _accepted(path).items()
            if name in clean.columns or not figures.get("left_out")
        }
        return check_frame(clean, distribution_tests(accepted, context.config.data.distribution))
    return [
        Check(
            name="distribution",
            verdict=Verdict.SKIPPED,
            observed="not compared",
            expected="shares of nulls and means near those of the last accepted data",
            why=why,
        )
    ]


def _had_in_production(
    context: Context[ValidateDataFlags], problem: Problem, present: Collection[str]
) -> str:
    """Say which column of the data of the version in production the source lacks, if any."""
    path, data = context.home / ACCEPTED, context.config.data
    if not path.is_file():
        return ""
    others = {*present, *data.constants, problem.group_column if data.groups else None}
    for name, figures in _accepted(path).items():
        given = data.columns.get(name, name)
        if not {name, given} & others and not figures.get("left_out"):
            return (
                f"production's data had '{given}': keep it in the data until a model "
                "without it is in production"
            )
    return ""


def _accepted(path: Path) -> dict[str, Any]:
    try:
        columns: dict[str, Any] = documents.read_json(path)["columns"]
        if all({"null_share", "mean", "std"} <= set(column) for column in columns.values()):
            return columns
    except (OSError, DocumentError, KeyError, TypeError, AttributeError):
        pass
    raise EnvironmentFault(
        f"{path} cannot be read",
        expected="the profile of the last accepted data",
        hint="restore it, or delete it to accept the next data as they come",
    )


def _write(
    context: Context[ValidateDataFlags], found: Validation, figures: dict[str, Any]
) -> list[Path]:
    workdir = context.workdir
    context.progress("writing the clean rows", 0.9)
    return [
        _write_parquet(workdir / CLEAN, found.clean),
        _write_parquet(workdir / QUARANTINE, found.quarantine),
        write_text(workdir / PROFILE, json.dumps(figures, indent=2, sort_keys=True) + "\n"),
    ]


def _write_parquet(path: Path, frame: pd.DataFrame) -> Path:
    """Write a frame; a column of several types, such as numbers and words, is written as text."""
    mixed = [name for name in frame.columns if frame[name].dtype == object]
    with atomic_path(path) as temporary:
        frame.astype(dict.fromkeys(mixed, "str")).to_parquet(temporary, index=False)
    return path


def _users_tests(context: Context[ValidateDataFlags], clean: pd.DataFrame) -> Sequence[Check]:
    """Run the project's own data tests on the clean rows, in the source's column names."""
    folder = context.config.tests.data
    if not context.project.path(folder).exists():
        return []
    from ml_pipeline.project import isolation
    from ml_pipeline.project.protected_files import Protected
    from ml_pipeline.project.user_tests import run_user_tests

    context.progress(f"tests in {folder}", 0.95)
    view = _write_parquet(
        context.workdir / USERS_VIEW, to_source_columns(clean, context.config.data)
    )
    places = Protected(context.project, context.workdir, context.home)
    found = run_user_tests(
        context.project, context.workdir, folder, "data", {"df": str(view)}, places
    )
    return [*found, *isolation.check(found)]


def _span(clean: pd.DataFrame, entity: str | None, time: str | None) -> dict[str, Any]:
    span: dict[str, Any] = {}
    if entity is not None and entity in clean.columns:
        span["entities"] = int(clean[entity].nunique())
    if time is not None and len(clean):
        span |= {"first": str(clean[time].min())[:10], "last": str(clean[time].max())[:10]}
    return span


def _summary(rows: int, found: Validation, checks: Sequence[Check]) -> str:
    bad = [c for c in checks if c.required and c.verdict not in (Verdict.PASS, Verdict.SKIPPED)]
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        detail = bad[0].why or f"observed {bad[0].shown}, expected {bad[0].expected}"
        return f"{bad[0].name}: {detail}{more}"
    blanked = ", ".join(f"{count:,} {name}" for name, count in sorted(found.blanked.items()))
    return (
        f"{rows:,} rows: {len(found.clean):,} clean, {len(found.quarantine):,} quarantined, "
        f"blanked cells: {blanked or 'none'}{_notes(found, checks)}"
    )


def _notes(found: Validation, checks: Sequence[Check]) -> str:
    """Return what a person should know of data that pass: the first three things."""
    told = [
        f"{check.name}: {check.why}"
        for check in found.checks
        if check.why and (check.name in (LINES, COPIES) or f"; {REMEDY} '" in check.why)
    ]
    notes = [*told, *notes_of(checks)]
    left = len(notes) - 3
    more = f"; and {left} more note{'s' * (left > 1)}" if left > 0 else ""
    return "".join(f"; {note}" for note in notes[:3]) + more
