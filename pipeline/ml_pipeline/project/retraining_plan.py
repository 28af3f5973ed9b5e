"""Whether to train, and why: the project and its data beside the version in production."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from ml_pipeline.approval.authors import COMMIT_TAG
from ml_pipeline.approval.policy import PolicyFiles
from ml_pipeline.bundle import identity
from ml_pipeline.bundle.recipe_changes import RecipeChange, recipe_changes
from ml_pipeline.config import Project
from ml_pipeline.core import git
from ml_pipeline.core.errors import EnvironmentFault, Refused
from ml_pipeline.core.home import HISTORY, Home
from ml_pipeline.gate.decision import goal_for
from ml_pipeline.monitoring.conclusions import Conclusion
from ml_pipeline.monitoring.dated_change import dated_change
from ml_pipeline.monitoring.model_age import training_end
from ml_pipeline.monitoring.state import last_conclusion
from ml_pipeline.project.data_changes import DataChange, FormerData, data_change
from ml_pipeline.project.recent_retraining import recent_retraining
from ml_pipeline.promotion.agreement import agreed_champion
from ml_pipeline.promotion.environment import PRODUCTION, registered_bundle
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import TRAIN_SECONDS, Version
from ml_pipeline.training.windows import TrainingWindow, windows_of

if TYPE_CHECKING:
    from ml_pipeline.core.report import Progress

SCHEMA = "ml-pipeline/plan/1"
COSTS = 5
"""The last trainings whose duration is shown."""
SHOWN = 4
"""Names of files that are shown."""


@dataclass(frozen=True)
class Reason:
    """One thing that may be a reason to train."""

    name: str
    changed: bool | None
    """Whether it is one; None where it was not looked at."""
    detail: str


@dataclass(frozen=True)
class Plan:
    """Whether to train, and why."""

    train: bool
    why: str
    """One line."""
    reasons: tuple[Reason, ...] = ()
    cause: str = ""
    """What the training is to be started with: ``train --cause``; empty without one."""
    goal: Literal["auto", "non_inferior"] = "auto"
    """What the gate will ask of the new version, as far as it is known before the training."""
    version: int | None = None
    """The version in production."""
    window: dict[str, Any] | None = None
    """The windows of training days; None for all days."""
    cost: dict[str, float] | None = None

    @property
    def headline(self) -> str:
        return f"train: {self.why}" if self.train else f"nothing to train: {self.why}"

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "train": self.train,
            "why": self.why,
            "reasons": [dict(vars(reason)) for reason in self.reasons],
            "cause": self.cause,
            "goal": self.goal,
            "window": self.window,
            "cost": self.cost or {},
            "version": self.version,
        }


def make_plan(
    project: Project,
    home: Home,
    policy: PolicyFiles,
    progress: Progress,
    now: datetime | None = None,
) -> Plan:
    """Compare the project and its data with the version in production.

    Args:
        project: As it is checked out and configured.
        home: Holds the registry and the history; it need not exist.
        policy: The administrators' file, for the keys that it trusts.
        progress: Called with what is read.
        now: The present time.

    Raises:
        UsageError: the configuration is wrong, or the source cannot be read.
        EnvironmentFault: the registry, the history, the state of monitoring or a source is
            unavailable, or they differ on the champion: what cannot be read is never taken for
            unchanged. So is the bundle of the version in production where it does not verify.
    """
    now = now or datetime.now(UTC)
    registry = Registry.of(project, home, progress)
    champion = None
    if registry.exists() or (home / HISTORY).exists():
        progress("reading the registry", 0.0)
        champion = agreed_champion(registry, None, home)
    if champion is None:
        why = "no version in production"
        return Plan(True, why, (Reason("version in production", True, why),), cause=why)
    versions = registry.read().versions
    recipe = identity.recipe(project)
    try:
        manifest = registry.bundles.manifest(champion)
        parts = manifest["identity_parts"]
        with registered_bundle(registry, champion, home) as bundle:
            changes = recipe_changes(project, parts, bundle)
    except Refused as error:
        raise EnvironmentFault(
            f"version {champion.number}, which is in production, cannot be compared with: "
            f"{error.fault}",
            expected=error.expected,
            hint=error.hint,
        ) from error
    other_recipe = any(part.changed for part in changes)
    recent = recent_retraining(
        registry,
        home,
        policy,
        versions,
        champion,
        recipe,
        cool_down=project.config.monitor.cool_down_days,
        now=now,
    )
    data: DataChange | None = None
    unread = "a retraining is recent" if recent else "the recipe changed" if other_recipe else ""
    if not unread:
        former = FormerData.of(champion.tags, parts, manifest["training"])
        data = data_change(project, home, former, progress)
    window = _window(project, home, champion, parts)
    suggestions = (_monitor(home, champion), _age(project, champion, manifest["cutoffs"], now))
    other = _other_files(project, champion)
    changed = _changed(champion, changes, data, window)
    train = bool(changed) and not recent
    suggested = [one.detail for one in suggestions if one.changed][
        :1
    ]  # monitor judges the age as well
    trained_for = "; ".join([*suggested, *changed])
    why = trained_for if train else recent or _unchanged(champion, suggested, other)
    goal = goal_for(project.config.gate.goal, parts | recipe, parts)
    return Plan(
        train=train,
        why=why,
        reasons=(
            *(Reason(part.part, part.changed, part.detail) for part in changes),
            Reason("data", None, f"not read: {unread}")
            if data is None
            else Reason("data", data.changed, data.detail),
            window.reason,
            *suggestions,
            Reason("other files", None, other.detail),
            Reason("recent retraining", None, recent or "none"),
        ),
        cause=why if train else "",
        goal="non_inferior" if goal == "non_inferior" else "auto",
        version=champion.number,
        window=window.to_json(),
        cost=_cost(versions, data),
    )


def _changed(
    champion: Version, recipe: Sequence[RecipeChange], data: DataChange | None, window: _Window
) -> list[str]:
    """Return what differs from the version in production and shapes the model."""
    since = f"since version {champion.number}"
    found = [f"{part.part} changed {since}: {part.detail}" for part in recipe if part.changed]
    if data is not None and data.changed:
        found.append(f"the data changed {since}: {data.why}")
    if window.reason.changed:
        found.append(f"another window of training days: {window.reason.detail}")
    return found


def _unchanged(champion: Version, suggested: Sequence[str], other: _OtherFiles) -> str:
    since = f"since version {champion.number}"
    if suggested:
        return (
            f"{'; '.join(suggested)}; but neither recipe nor data changed {since}, so training "
            "would give the same model"
        )
    if other.any_changed:
        return f"nothing that shapes the model changed {since}, only {other.detail}"
    return f"nothing changed {since}"


def _monitor(home: Home, champion: Version) -> Reason:
    """Return what the last look at production concluded."""
    name, seen = "monitor", last_conclusion(home, PRODUCTION)
    if seen is None:
        return Reason(name, None, f"'ml-pipeline monitor {PRODUCTION}' has not run yet")
    if seen.version != champion.number:
        return Reason(name, None, f"its last look was at version {seen.version}")
    asks = seen.conclusion is Conclusion.RETRAIN
    text = seen.cause if asks and seen.cause else f"{seen.conclusion}: {seen.reason}"
    return Reason(name, asks, f"{text} (look of {seen.at.date()})")


def _age(
    project: Project, champion: Version, cutoffs: Mapping[str, str | None], now: datetime
) -> Reason:
    most, ended = project.config.monitor.max_age_days, training_end(cutoffs)
    if ended is None:
        return Reason("model age", None, "the training data have no dates")
    days = (now.date() - ended).days
    text = f"the training data of version {champion.number} end on {ended}, {days} days ago"
    if most is None:
        return Reason("model age", False, f"{text}; monitor.max_age_days is not set")
    return Reason("model age", days > most, f"{text}; monitor.max_age_days is {most:g}")


@dataclass(frozen=True)
class _Window:
    """The days that would be trained on."""

    reason: Reason
    candidates: tuple[TrainingWindow, ...]

    def to_json(self) -> dict[str, Any] | None:
        if self.candidates == (TrainingWindow(),):
            return None
        return {
            "candidates": [window.to_json() for window in self.candidates],
            "titles": list(map(str, self.candidates)),
        }


def _window(project: Project, home: Home, champion: Version, parts: Mapping[str, str]) -> _Window:
    """Return the windows of training days, and whether a change was dated since the champion."""
    section, change = project.config.train, None
    if section.depends_on_change:
        change = dated_change(home, PRODUCTION, champion.number, parts.get("change"))
    windows = windows_of(section, change)
    changed = section.depends_on_change and (
        parts.get("change") != (None if change is None else change.isoformat())
    )
    detail = " or ".join(map(str, windows))
    return _Window(Reason("training window", changed, detail), windows)


@dataclass(frozen=True)
class _OtherFiles:
    """Files that differ from the version's commit; where the recipe is the same, none shapes it."""

    detail: str
    any_changed: bool = False


def _other_files(project: Project, champion: Version) -> _OtherFiles:
    commit = champion.tags.get(COMMIT_TAG)
    if commit is None:
        return _OtherFiles(f"unknown: version {champion.number} has no git commit")
    changed = git.changed_files(project.root, commit)
    if changed is None:
        return _OtherFiles(f"unknown: this clone does not have commit {commit[:12]}")
    if not changed:
        return _OtherFiles(f"none since commit {commit[:12]}")
    more = len(changed) - SHOWN
    shown = ", ".join([*changed[:SHOWN], *([f"and {more} more"] if more > 0 else [])])
    return _OtherFiles(shown, any_changed=True)


def _cost(versions: Sequence[Version], data: DataChange | None) -> dict[str, float]:
    """Return what the last trainings took, in minutes, and what reading the data took now."""
    seconds = []
    for version in versions:
        try:
            seconds.append(float(version.tags[TRAIN_SECONDS]))
        except (KeyError, ValueError):
            continue
    cost: dict[str, float] = {"trainings": len(seconds[-COSTS:])}
    if seconds:
        cost["minutes"] = round(statistics.median(seconds[-COSTS:]) / 60, 2)
        cost["last_minutes"] = round(seconds[-1] / 60, 2)
    if data is not None:
        cost["data_seconds"] = data.seconds
    return cost
