"""Whether to train, and why: the project and its data beside the version in production."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from ml_pipeline.approval.authors import COMMIT_TAG
from ml_pipeline.bundle import identity
from ml_pipeline.bundle.recipe_changes import RecipeChange, recipe_changes
from ml_pipeline.config import Project
from ml_pipeline.core import git
from ml_pipeline.core.home import HISTORY, Home
from ml_pipeline.gate.decision import goal_for
from ml_pipeline.project.data_changes import DataChange, FormerData, data_change
from ml_pipeline.promotion.agreement import agreed_champion
from ml_pipeline.promotion.environment import registered_bundle
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import TRAIN_SECONDS, RegistryState, Version

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
            "window": None,
            "cost": self.cost or {},
            "version": self.version,
        }


def make_plan(
    project: Project, home: Home, progress: Progress, now: datetime | None = None
) -> Plan:
    """Compare the project and its data with the version in production.

    Args:
        project: As it is checked out and configured.
        home: Holds the registry and the history; it need not exist.
        progress: Called with what is read.
        now: The present time.

    Raises:
        UsageError: the configuration is wrong, or the source cannot be read.
        EnvironmentFault: the registry, the history or a source is unavailable, or they differ on
            the champion: what cannot be read is never taken for unchanged.
        Refused: the bundle of the version in production does not verify.
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
    state = registry.read()
    manifest = registry.bundles.manifest(champion)
    parts, training = manifest["identity_parts"], manifest["training"]
    with registered_bundle(registry, champion, home) as bundle:
        recipe = recipe_changes(project, parts, bundle)
    other_recipe = any(part.changed for part in recipe)
    young = _young_version(project, state, champion, now)
    reasons = [Reason(part.part, part.changed, part.detail) for part in recipe]
    data: DataChange | None = None
    if young or other_recipe:
        detail = "not read: " + ("a retraining is recent" if young else "the recipe changed")
        reasons.append(Reason("data", None, detail))
    else:
        data = data_change(project, home, FormerData.of(champion.tags, parts, training), progress)
        reasons.append(Reason("data", data.changed, data.detail))
    other = _other_files(project, champion)
    reasons += [
        Reason("other files", None, other.detail),
        Reason("recent retraining", None, young or "none"),
    ]
    train = not young and (other_recipe or (data is not None and data.changed))
    why = young or _why(champion, recipe, data, other)
    goal = goal_for(project.config.gate.goal, parts | identity.recipe(project), parts)
    return Plan(
        train=train,
        why=why,
        reasons=tuple(reasons),
        cause=why if train else "",
        goal="non_inferior" if goal == "non_inferior" else "auto",
        version=champion.number,
        cost=_cost(state.versions, data),
    )


def _why(
    champion: Version, recipe: Sequence[RecipeChange], data: DataChange | None, other: _OtherFiles
) -> str:
    since = f"since version {champion.number}"
    if changed := [part for part in recipe if part.changed]:
        return "; ".join(f"{part.part} changed {since}: {part.detail}" for part in changed)
    assert data is not None
    if data.changed:
        return f"the data changed {since}: {data.why}"
    if other.any_changed:
        return f"nothing that shapes the model changed {since}, only {other.detail}"
    return f"nothing changed {since}"


def _young_version(project: Project, state: RegistryState, champion: Version, now: datetime) -> str:
    """Return why a retraining is too early: a version of this recipe is younger than the cool-down.

    Days are those of the calendar (UTC), so that a weekly schedule may retrain on each of its days.
    """
    cool_down = project.config.monitor.cool_down_days
    recipe = identity.recipe(project)
    for version in reversed(state.versions):
        same = all(version.tags.get(f"identity.{part}") == recipe[part] for part in recipe)
        if not same or version.created is None:
            continue
        days = (now.date() - version.created.date()).days
        if days < cool_down:
            name = "in production" if version.number == champion.number else "not in production"
            return (
                f"version {version.number} ({name}) was registered on {version.created.date()}, "
                f"within monitor.cool_down_days ({cool_down:g})"
            )
    return ""


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
