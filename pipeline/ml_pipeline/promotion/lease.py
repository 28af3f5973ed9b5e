"""The claim that lets one change of the champion run at a time, on all machines."""

from __future__ import annotations

from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.promotion.journal import Journal
from ml_pipeline.registry.leases import Holder, Subject, claim_name
from ml_pipeline.registry.mlflow_registry import Registry


def claim(registry: Registry, journal: Journal) -> None:
    """Claim the next number for a journal, which holds token and number before they are used.

    Raises:
        EnvironmentFault: another one is under way, on whichever machine, and who makes it; or the
            registry does not answer.
    """
    record = journal.record
    last = registry.last_claim()
    if last is not None and last.ended is None:
        if last.holder.token != record.token:
            raise _held(registry, last.number, last.holder)
        journal.update(number=last.number)
        return
    number = 1 if last is None else last.number + 1
    journal.update(number=number)
    answer = registry.claim(
        number,
        record.token,
        by=record.by,
        run_id=record.run_id,
        subject=Subject(record.kind, record.version, record.bundle, record.approval),
    )
    if not answer:
        raise _held(registry, number, answer.holder)


def _held(registry: Registry, number: int, holder: Holder) -> EnvironmentFault:
    return EnvironmentFault(
        f"promotion {number} of '{registry.name}' belongs to {holder}",
        hint="try again when it has ended; if it was killed, run 'ml-pipeline promote' there; if "
        f"that home is gone, set the tag claim.ended of '{claim_name(registry.name, number)}'",
    )
