"""Which registered version an environment may be given."""

from __future__ import annotations

from ml_pipeline.approval import policy as policies
from ml_pipeline.approval.keys import trusted_keys
from ml_pipeline.approval.policy import PolicyFiles
from ml_pipeline.config import Project
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.promotion.agreement import agreed_champion
from ml_pipeline.promotion.approvals import approval_of
from ml_pipeline.promotion.environment import PRODUCTION
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version


def choose(
    registry: Registry,
    project: Project,
    home: Home,
    policy: PolicyFiles,
    *,
    environment: str,
    number: int | None,
) -> Version:
    """Return the version ``number``, or the challenger; for production the approved champion only.

    Raises:
        UsageError: no version is registered, or not this one.
        Refused: production is to be given what was not promoted.
        EnvironmentFault: the registry does not answer, it and the history differ, or a change of
            production is open.
    """
    if environment == PRODUCTION:
        return _promoted(registry, project, home, policy, number)
    if number is not None:
        return registry.read().version(number)
    challenger = registry.read().challenger
    if challenger is None:
        raise UsageError(
            f"no version of '{registry.name}' is registered", hint="run 'ml-pipeline register'"
        )
    return challenger


def _promoted(
    registry: Registry, project: Project, home: Home, policy: PolicyFiles, number: int | None
) -> Version:
    champion = agreed_champion(registry, None, home)
    if champion is None or number not in (None, champion.number):
        raise Refused(
            f"{PRODUCTION} serves what was promoted, and nothing else",
            expected="a champion" if champion is None else f"version {champion.number}",
            hint="run 'ml-pipeline promote'",
        )
    rules = policies.load(policy, project.config.policy)
    approval_of(registry, trusted_keys(home, rules), champion)
    return champion
