"""The changes of production of all homes: the leases in the registry, in order.

Every change takes a lease before it moves the alias, and the lease says what it is about. So the
registry remembers which approvals were used and which versions were rolled back, whatever becomes
of a home.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ml_pipeline.core.errors import PipelineError, Refused
from ml_pipeline.core.home import Home
from ml_pipeline.promotion.journal import journals
from ml_pipeline.promotion.production_history import read_history
from ml_pipeline.registry.leases import Lease
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CHAMPION, RegistryState, Version

TAKEN_BACK = "taken back"
DONE = "done"
ROLLED_BACK = "rolled back"
"""A promotion that was killed while its version served, and then rolled back, not resumed."""


@dataclass(frozen=True)
class RegistrySnapshot:
    """Versions, aliases and leases of a registry: read at the first use, and not again."""

    registry: Registry

    def read(self) -> tuple[RegistryState, tuple[Lease, ...]]:
        """Return state and leases.

        Raises:
            PipelineError: the registry was unavailable at the first use.
        """
        if isinstance(self._result, PipelineError):
            raise self._result
        return self._result

    @cached_property
    def _result(self) -> tuple[RegistryState, tuple[Lease, ...]] | PipelineError:
        try:
            state = self.registry.read()
            return state, self.registry.leases.read(state)
        except PipelineError as error:
            return error


def last_done(leases: Sequence[Lease]) -> Lease | None:
    """Return the last completed change; None if none is known."""
    found = [one for one in leases if one.ended == DONE]
    return found[-1] if found else None


def last_change_was_to(leases: Sequence[Lease], version: Version) -> bool:
    """Return whether the last change led to this version, as far as the leases say to which."""
    last = last_done(leases)
    if last is None or last.subject is None:
        return True
    return last.is_about(version.number, version.digest)


def registry_is_behind(home: Home, last: Lease | None) -> bool:
    """Return whether the history has changes after the registry's last one.

    That is so for a registry that was restored from a backup.

    Args:
        home: Whose history and journals tell.
        last: The last change that the registry knows to be done.

    Raises:
        EnvironmentFault: the history or a journal is broken.
    """
    history = read_history(home)
    if last is None or not history:
        return False
    made = [one.record for one in journals(home)]
    positions = [number for number, one in enumerate(made) if one.token == last.holder.token]
    newest = history[-1]
    named = (newest.kind, newest.version, newest.bundle, newest.run_id)
    written = [
        number
        for number, one in enumerate(made)
        if (one.kind, one.version, one.bundle, one.run_id) == named
    ]
    if positions and written:
        return positions[-1] < written[-1]
    subject = last.subject
    if subject is None:
        return False
    by_approval = subject.kind == "promotion"
    about = (
        subject.version,
        subject.bundle,
        subject.approval if by_approval else last.holder.run_id,
    )
    return about in [
        (one.version, one.bundle, one.approval if by_approval else one.run_id)
        for one in history[:-1]
        if by_approval or one.kind == subject.kind
    ]


def present_champion(state: RegistryState) -> Version | None:
    """Return the version that the alias names; None where it names none, or a lost one."""
    return state.find_number(state.aliases.get(CHAMPION))


def check_unused(leases: Sequence[Lease], model: str, approval: str) -> None:
    """Check that an approval was not used by a promotion, from any home.

    Args:
        leases: All of the model's.
        model: The registered model's name.
        approval: The SHA-256 of the approval.

    Raises:
        Refused: a promotion went by it, or may have.
    """
    for one in leases:
        subject = one.subject
        if subject is None or subject.kind != "promotion" or subject.approval != approval:
            continue
        if one.ended == TAKEN_BACK:
            continue
        raise Refused(
            f"the approval was used by promotion {one.number} of '{model}', by {one.holder}",
            expected="an approval for each promotion",
            hint="run 'ml-pipeline gate' and 'ml-pipeline approve' again",
        )
