"""Where the desired state of production is read from."""

from __future__ import annotations

from pathlib import Path

from ml_pipeline.config import GitopsSection
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home
from ml_pipeline.promotion import desired_state, gitops, production_history
from ml_pipeline.promotion.desired_state import Desired, Digests
from ml_pipeline.promotion.environment import pull_request_branch
from ml_pipeline.promotion.lease_history import (
    RegistrySnapshot,
    last_done,
    present_champion,
    registry_is_behind,
)


def read_desired(
    snapshot: RegistrySnapshot, home: Home, section: GitopsSection, file: str | None
) -> Desired:
    """Return the desired state of production.

    It is read from ``file`` if one is named, else from the repository of ``gitops`` in ``ml.yaml``,
    else from the home. The home's own file counts too while its last change waits for a pull
    request. Where another home changed production since, the registry counts in place of it.

    Raises:
        UsageError: the file cannot be read.
        EnvironmentFault: the repository is unavailable.
    """
    if file:
        return desired_state.read(Path(file))
    own = home / production_history.PRODUCTION_MODEL
    if section.repository is None:
        return _promoted_elsewhere(snapshot, home) or desired_state.read(own)
    history = production_history.read_history(home)
    number = history[-1].version if history else 0
    content = gitops.fetch(
        section, pull_request_branch=pull_request_branch(snapshot.registry.name, number)
    )
    if content is None:
        return desired_state.read(own)
    return desired_state.parse(content, f"{section.path} of {section.branch}")


def _promoted_elsewhere(snapshot: RegistrySnapshot, home: Home) -> Desired | None:
    """Return the champion of another home, or of this one before its history was lost."""
    history = production_history.read_history(home)
    try:
        state, leases = snapshot.read()
    except EnvironmentFault:
        return None
    last, champion = last_done(leases), present_champion(state)
    if last is None or last.subject is None or champion is None:
        return None
    if not last.is_about(champion.number, champion.digest):
        return None
    if registry_is_behind(home, last):
        return None
    if history and (history[-1].version, history[-1].bundle) == (champion.number, champion.digest):
        return None
    digests = Digests(bundle=last.subject.bundle, approval=last.subject.approval)
    return Desired(model_name=state.name, model_version=champion.number, digests=digests)
