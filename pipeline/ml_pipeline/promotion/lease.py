"""The lease that lets one change of the champion run at a time, on all machines."""

from __future__ import annotations

from collections.abc import Sequence

from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.promotion.journal import Journal
from ml_pipeline.registry.leases import Holder, Lease, Subject
from ml_pipeline.registry.registry import Registry


def acquire_lease(registry: Registry, journal: Journal, leases: Sequence[Lease]) -> Sequence[Lease]:
    """Acquire the next lease for a journal, which keeps token and number before they are used.

    Args:
        registry: Gives the leases.
        journal: Of the change that is about to begin.
        leases: All that the registry had given when the change was decided on.

    Returns:
        All leases before the one that was acquired. Since each number is given once, no change of
        production was made after those.

    Raises:
        EnvironmentFault: another change is under way, on whichever machine, and who makes it; or
            the registry does not answer.
    """
    record = journal.record
    while True:
        last = leases[-1] if leases else None
        if last is not None and last.ended is None:
            if last.holder.token != record.token:
                raise _not_ours(registry, last.number, last.holder)
            journal.update(number=last.number)
            return leases[:-1]
        number = 1 if last is None else last.number + 1
        journal.update(number=number)
        if registry.leases.acquire(
            number,
            record.token,
            by=record.by,
            run_id=record.run_id,
            subject=Subject(record.kind, record.version, record.bundle, record.approval),
        ):
            return leases
        leases = registry.leases.read()


def _not_ours(registry: Registry, number: int, holder: Holder) -> EnvironmentFault:
    return EnvironmentFault(
        f"promotion {number} of '{registry.name}' belongs to {holder}",
        hint="try again when it has ended; if it was killed, run 'ml-pipeline promote' there; if "
        f"that home is gone, set {registry.leases.tag_to_end(number)}",
    )
