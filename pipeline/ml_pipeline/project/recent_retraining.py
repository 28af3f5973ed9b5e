"""Whether a retraining is recent, or its version still waits for an answer: no second one then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import ValidationError

from ml_pipeline.approval import policy as policies
from ml_pipeline.approval.keys import trusted_keys
from ml_pipeline.approval.policy import PolicyFiles
from ml_pipeline.approval.rejections import rejections
from ml_pipeline.approval.subject import GateRecord
from ml_pipeline.core import documents
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Verdict
from ml_pipeline.promotion.production_history import read_history
from ml_pipeline.registry.records import GATE_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version

ANSWER_DAYS = 30
"""Days for which a version that passed the gate keeps another retraining from being started."""


def recent_retraining(
    registry: Registry,
    home: Home,
    policy: PolicyFiles,
    versions: Sequence[Version],
    champion: Version,
    recipe: Mapping[str, str],
    *,
    cool_down: float,
    now: datetime,
) -> str:
    """Return why a retraining of this recipe is too early; empty if it is not.

    Days are those of the calendar (UTC), so that a weekly schedule may retrain on each of its days.

    Args:
        registry: Holds the gate's records and the answers.
        home: Holds the history.
        policy: The administrators' file, for the keys that it trusts.
        versions: All of the model, oldest first.
        champion: The version in production.
        recipe: The parts of the project's identity that do not depend on data; a version of
            another recipe is no retraining of it.
        cool_down: ``monitor.cool_down_days``.
        now: The present time.

    Raises:
        EnvironmentFault: the registry is unavailable, or the history is broken.
    """
    for version in reversed(versions):
        if version.created is None or not _has_recipe(version, recipe):
            continue
        day = version.created.date()
        age = (now.date() - day).days
        place = "in production" if version.number == champion.number else "not in production"
        if age < cool_down:
            return (
                f"version {version.number} ({place}) was registered on {day}, within "
                f"monitor.cool_down_days ({cool_down:g})"
            )
        if age < ANSWER_DAYS and _waits(registry, home, policy, version, champion):
            return (
                f"version {version.number} passed the gate and has waited since {day} for "
                "'ml-pipeline approve' and 'promote'"
            )
    return ""


def _has_recipe(version: Version, recipe: Mapping[str, str]) -> bool:
    tags = version.tags
    return "identity.limits" not in tags and all(
        tags.get(f"identity.{part}") == value for part, value in recipe.items()
    )


def _waits(
    registry: Registry, home: Home, policy: PolicyFiles, version: Version, champion: Version
) -> bool:
    """Return whether a version passed the gate against this champion, and nothing followed yet."""
    if version.number <= champion.number:
        return False
    if any(entry.bundle == version.digest for entry in read_history(home)):
        return False
    content = registry.records.read(version, GATE_RECORD)
    try:
        gate = GateRecord.model_validate(documents.parse_json(content or b"", "the gate's record"))
    except (DocumentError, ValidationError):
        return False
    if gate.verdict is not Verdict.PASS or gate.champion != champion.digest:
        return False
    return not rejections(
        registry,
        [version],
        version,
        champion,
        lambda: trusted_keys(home, policies.minimum(policy)),
    )
