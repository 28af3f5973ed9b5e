"""Recovers an interrupted change of production: completes it, or undoes it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.core.report import Check, Progress, Verdict
from ml_pipeline.promotion import approvals, production_history
from ml_pipeline.promotion.environment import Production, find_bundle
from ml_pipeline.promotion.journal import Journal, open_journals
from ml_pipeline.promotion.lease_history import present_champion
from ml_pipeline.promotion.switch import complete
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version
from ml_pipeline.targets.base import Deployment, deploy

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey


def recover(
    registry: Registry,
    keys: Sequence[SSlibKey],
    production: Production,
    profile: Path | None,
    progress: Progress,
) -> tuple[str, ...]:
    """Recover every open journal of the home, and say how. The caller holds the home.

    Where the registry's alias is decides: if the promotion moved it to its version, it is finished;
    otherwise, what was there before it is put back, unless the promotion was written down and has
    been replaced since. A rollback is always finished, and replaces
    what was open before it.

    Args:
        registry: Asked for the champion.
        keys: Public keys whose signature counts.
        production: Where the champion serves.
        profile: See ``promote``.
        progress: Told what is being done.

    Raises:
        Refused: the version to be finished or put back does not verify.
        EnvironmentFault: the registry, the disk or the port is unavailable; the journal stays.
    """
    results = []
    journals = open_journals(production.home)
    changes = [journal for journal in journals if journal.record.kind != "promotion"]
    if changes:
        progress("recovering what was interrupted", 0.05)
        complete(registry, keys, production, changes[-1])
        results = [f"finished: {changes[-1].record}"]
        journals = [one for one in journals if one.path.name > changes[-1].path.name]
    for journal in journals:
        progress("recovering what was interrupted", 0.05)
        champion = present_champion(registry.read())
        moved = "alias" in journal.record.steps
        if moved and champion is not None and champion.digest == journal.record.bundle:
            _finish(registry, keys, production, journal, champion, profile)
            production.publish(journal.record)
            _end(registry, journal, "done")
            results.append(f"finished: {journal.record}")
        elif journal.record.steps.get("file") == "made":
            _end(registry, journal, "done")
            results.append(f"replaced since: {journal.record}")
        else:
            _put_back(registry, production, journal)
            _end(registry, journal, "taken back")
            results.append(f"taken back: {journal.record}")
    return tuple(results)


def checks(results: Sequence[str]) -> list[Check]:
    """Return a passed check for each change that was recovered."""
    return [
        Check(
            name="interrupted change recovered",
            verdict=Verdict.PASS,
            observed=one,
            expected="finished, or what was there before is there again",
        )
        for one in results
    ]


def _finish(
    registry: Registry,
    keys: Sequence[SSlibKey],
    production: Production,
    journal: Journal,
    champion: Version,
    profile: Path | None,
) -> None:
    record = journal.record
    approval, approval_digest = approvals.fetch_and_keep(registry, keys, production.home, champion)
    serving = _serve(registry, production, record.bundle, record.version)
    entry = production_history.entry(
        record.kind,
        champion,
        (record.former_version, record.former_bundle),
        serving.url,
        approval,
        approval_digest,
        by=record.by,
        reason=record.reason,
        run_id=record.run_id,
    )
    accepted = production_history.profile_of(champion, profile)
    with ExitStack() as undo:
        production_history.write_change(production.home, entry, approval, accepted, undo)
        undo.pop_all()


def _put_back(registry: Registry, production: Production, journal: Journal) -> None:
    record = journal.record
    if "deploy" not in record.steps:
        return
    if record.former_bundle is not None:
        _serve(registry, production, record.former_bundle, record.former_version)
        return
    running = production.status()
    if running is None or running.digest == record.bundle:
        production.target.stop(production.placement)


def _serve(
    registry: Registry, production: Production, digest: str, number: int | None
) -> Deployment:
    """Let a version serve; one that serves already stays, and what waits beside it ends."""
    with find_bundle(registry, production.home, digest, number) as bundle:
        return deploy(production.target, production.placement, bundle, number)


def _end(registry: Registry, journal: Journal, how: str) -> None:
    record = journal.record
    if record.number is not None:
        registry.leases.release(record.number, record.token, how)
    journal.close("done" if how == "done" else "taken back")
