"""Removes an entity from what a home holds of requests, and says what it cannot reach."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_pipeline.config import Project
from ml_pipeline.core import locks
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Progress
from ml_pipeline.monitoring import archived_log, forgotten_rows
from ml_pipeline.monitoring.forgotten_rows import Entity, Removed, RowId
from ml_pipeline.monitoring.labels import segments
from ml_pipeline.monitoring.state import FOLDER, STATE, MonitorFolder
from ml_pipeline.online.recorded_requests import fetch_log
from ml_pipeline.serving import prediction_log
from ml_pipeline.targets import redaction_key, server_arguments
from ml_pipeline.targets.base import HasRemotePredictionLog, Placement
from ml_pipeline.targets.copy_prediction_log import lock_path
from ml_pipeline.targets.loader import load_target

TRAINING = (
    "training data, the bundles in released/ and in the registry (golden and reference rows), and "
    "MLflow's artefacts, if the entity is in the training data"
)
SERVER_LOGS = (
    "the servers' own logs (servers/ENV.log), whose error messages may quote a value, unless "
    "serving.redact is set"
)
ELSEWHERE = (
    TRAINING,
    SERVER_LOGS,
    "working folders of runs (build/ml) and files written by 'ml-pipeline score'",
    "requests that servers answer from now on",
    "monitor's sums by day, which hold no rows",
    "backups and copies of the home, and logs that other machines collect",
)
"""What no run of forget reaches."""


@dataclass
class Forgotten:
    """What was removed, by environment and kind, and what is left."""

    column: str
    removed: dict[str, dict[str, Removed]] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)
    """What in the home may still hold the entity."""
    unreached: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(one.rows for kinds in self.removed.values() for one in kinds.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "column": self.column,
            "removed": {
                environment: {
                    kind: {"rows": one.rows, "files": one.files} for kind, one in kinds.items()
                }
                for environment, kinds in self.removed.items()
            },
            "incomplete": self.incomplete,
            "unreached": self.unreached,
        }

    def lines(self) -> list[str]:
        """Return the result for a person; the entity itself is not named."""
        found = [
            f"{environment}: {one.rows:,} {noun} removed from {kind} "
            f"({one.files} {'file' if one.files == 1 else 'files'})"
            for environment, kinds in self.removed.items()
            for kind, one in kinds.items()
            for noun in ("row" if one.rows == 1 else "rows",)
            if one.rows
        ]
        found = found or [f"no row has this value of '{self.column}'"]
        found += (
            ["not complete:", *(f"  {one}" for one in self.incomplete)] if self.incomplete else []
        )
        return [*found, "not reached:", *(f"  {one}" for one in self.unreached)]


def forget(
    project: Project, home: Home, value: str, column: str | None, progress: Progress
) -> Forgotten:
    """Remove an entity's rows from prediction logs, monitoring and shadow records of a home.

    Args:
        project: whose home it is.
        home: of the project.
        value: of the entity, as text.
        column: the feature that has it; the problem's entity if None.
        progress: of the command.

    Raises:
        UsageError: no column is named, or no prediction log has it.
        EnvironmentFault: a file cannot be locked, read or written, or the key of hashes is
            missing. What was removed until then stays removed; a further run continues.
    """
    name = column or _entity_column(project)
    entity = Entity(name, value, redaction_key.find_key(project.serving, home))
    result = Forgotten(name)
    environments = _environments(project, home)
    for environment in environments:
        progress(f"copying the prediction log of {environment}", 0.1)
        _fetch(project, home, environment, result)
    folders = {one: _log_folder(project, home, one) for one in environments}
    with ExitStack() as stack:
        for environment, folder in folders.items():
            stack.enter_context(MonitorFolder.of(home, environment).locked())
            if folder.is_dir():
                stack.enter_context(locks.locked(lock_path(folder)))
        progress("looking for rows", 0.2)
        found = [_forget_in_logs(folder, entity, rewrite=False) for folder in folders.values()]
        _check_column(name, found, result)
        ids = {row for one in found for row in one.ids}
        progress("removing rows", 0.6)
        _forget_in_shadows(home, ids, result)
        for environment, folder in folders.items():
            waiting = Removed()
            for path, _, _ in segments(MonitorFolder.of(home, environment).root):
                forgotten_rows.forget_in_segment(path, entity, ids, waiting)
            # last, since only the log tells which rows of the others are the entity's
            log = _forget_in_logs(folder, entity, rewrite=True)
            result.incomplete += [*log.unreadable, *waiting.unreadable]
            kinds = {"the prediction log": log, "rows that wait for labels": waiting}
            result.removed.setdefault(environment, {}).update(kinds)
    result.unreached += ELSEWHERE
    return result


def _entity_column(project: Project) -> str:
    from ml_pipeline.problems.loader import load_problem

    column = load_problem(project.config.problem, project.root).entity_column
    if column is None:
        raise UsageError(
            "the problem names no entity",
            expected="--column NAME: the feature that has the value",
        )
    return column


def _environments(project: Project, home: Home) -> list[str]:
    """Return the environments of ``ml.yaml`` and those that have left a log or a monitor."""
    logs = server_arguments.prediction_folder(project.serving, home, "any").parent
    files = [*logs.glob(f"*/*{prediction_log.SUFFIX}"), *logs.glob(f"*/*{archived_log.SUFFIX}")]
    states = (home / FOLDER).glob(f"*/{STATE}")
    left = {path.parent.name for path in (*files, *states)}
    known = list(project.config.environments)
    return [*known, *sorted(left - set(known))]


def _fetch(project: Project, home: Home, environment: str, result: Forgotten) -> None:
    """Copy a remote log, so that what is removed here does not come back with a later copy."""
    if environment not in project.config.environments:
        return
    placement = Placement.of(project, environment, home)
    target = placement.section.target
    if target == "process":
        return
    result.unreached.append(
        f"the log of {environment} where its servers write it (target {target}); here it is "
        "removed from the copy, and does not come back"
    )
    if not isinstance(load_target(target), HasRemotePredictionLog):
        return
    try:
        fetch_log(placement)
    except EnvironmentFault as fault:
        result.incomplete.append(
            f"{environment}: its log cannot be copied, so run this again later: {fault}"
        )


def _log_folder(project: Project, home: Home, environment: str) -> Path:
    return server_arguments.prediction_folder(project.serving, home, environment).absolute()


def _forget_in_logs(folder: Path, entity: Entity, *, rewrite: bool) -> Removed:
    """Find an entity's rows in a prediction log, and remove them if ``rewrite`` is set."""
    removed = Removed()
    for path in prediction_log.files(folder):
        forgotten_rows.forget_in_log(path, entity, removed, rewrite=rewrite)
    for path in archived_log.files(folder):
        forgotten_rows.forget_in_archive(path, entity, removed, rewrite=rewrite)
    return removed


def _forget_in_shadows(home: Home, ids: set[RowId], result: Forgotten) -> None:
    folder: Path = home / "shadow"
    for path in sorted(folder.glob("*.jsonl")):
        if path.with_suffix(".json").exists():
            result.incomplete.append(
                f"the live shadow of {path.stem} runs and records ids and predictions: end it with "
                f"'ml-pipeline shadow {path.stem} --judge', then remove {path}"
            )
            continue
        removed = Removed()
        forgotten_rows.forget_in_records(path, ids, removed)
        result.incomplete += removed.unreadable
        result.removed.setdefault(path.stem, {})["records of a shadow"] = removed


def _check_column(column: str, logs: Iterable[Removed], result: Forgotten) -> None:
    logs = list(logs)
    features = {name for log in logs for name in log.features}
    if features and not any(log.has_column for log in logs):
        raise UsageError(
            f"no prediction log has the feature '{column}'",
            expected=f"--column with one of {', '.join(sorted(features))}",
        )
    if omitting := [path for log in logs for path in log.omitting]:
        result.unreached.append(
            f"rows of {len(omitting)} files of the log, from {Path(omitting[0]).name} on, which do "
            f"not have '{column}' (serving.redact omits it)"
        )
