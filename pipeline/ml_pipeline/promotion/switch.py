"""A change of production to a version that was approved before: traffic first, then the registry.

Rollback and reconcile are such changes. They need neither the registry nor the machine that
trained: bundle and approval are kept in the home. What could not be written to the registry stays
in the journal, and the next change of production writes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.approval.statement import Approval
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.errors import EnvironmentFault, PipelineError, Refused
from ml_pipeline.core.home import Home
from ml_pipeline.promotion import approvals, production_history
from ml_pipeline.promotion.environment import Production, find_bundle
from ml_pipeline.promotion.journal import (
    FaultHook,
    Journal,
    Kind,
    Record,
    Step,
    no_faults,
    open_journals,
    perform,
)
from ml_pipeline.promotion.lease import acquire_lease
from ml_pipeline.promotion.lease_history import (
    ROLLED_BACK,
    TAKEN_BACK,
    RegistrySnapshot,
    last_change_was_to,
    last_done,
    present_champion,
    registry_is_behind,
)
from ml_pipeline.registry.leases import Lease
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CHAMPION, RegistryState, Version
from ml_pipeline.targets.base import Deployment, Handover, check_digest, deploy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from securesystemslib.signer import SSlibKey


LOST = (
    "restore the registry from a backup, go back to a version that it holds with 'ml-pipeline "
    "rollback --to V', or register again what this home released: 'ml-pipeline reconcile "
    "production --restore-registry'"
)


@dataclass(frozen=True)
class VerifiedVersion:
    """A version whose bundle and approval verify."""

    version: Version
    bundle: Path
    approval: Approval
    approval_digest: str
    restored: tuple[str, ...] = ()
    """Descriptions of the files that the home lacked and has again."""


@dataclass(frozen=True)
class AliasUpdate:
    """The move of the registry's alias."""

    moved: str = ""
    """From where to where; empty where it was not moved."""
    open: str = ""
    """Why registry and production still differ; empty where they agree."""


@dataclass(frozen=True)
class SwitchResult:
    """The result of a change. ``open`` says what the registry lacks; empty if nothing."""

    version: Version
    former: tuple[int | None, str | None]
    deployment: Deployment
    approval: Approval
    seconds: float
    """From the decision to traffic."""
    open: str


@contextmanager
def verified_version(
    registry: Registry, keys: Sequence[SSlibKey], home: Home, number: int, digest: str
) -> Iterator[VerifiedVersion]:
    """Yield a version by what the home keeps of it; the registry is asked for what it lacks.

    Raises:
        Refused: bundle or approval does not verify.
        EnvironmentFault: the registry is needed and does not answer.
    """
    found = approvals.kept_approval(home, keys, registry.name, digest)
    restored: tuple[str, ...] = ()
    if found is None:
        registered = _registered(registry.read(), number, digest)
        found = approvals.fetch_and_keep(registry, keys, home, registered)
        restored = (f"the home keeps the approval of version {number} again",)
    approval, approval_digest = found
    if approval.version != number:
        raise Refused(
            f"the approval is for version {approval.version}", expected=f"version {number}"
        )
    with find_bundle(registry, home, digest, number) as path:
        identity = Bundle.open(path).identity
        yield VerifiedVersion(
            Version(registry.name, number, identity, digest),
            path,
            approval,
            approval_digest,
            restored,
        )


def change(
    kind: Kind,
    registry: Registry,
    production: Production,
    target_version: VerifiedVersion,
    *,
    former: tuple[int | None, str | None],
    by: str,
    reason: str,
    run_id: str,
    fault_point: FaultHook = no_faults,
) -> SwitchResult:
    """Serve a verified version, record it, then update the registry. Takes no lock.

    Raises:
        Refused: the server is not healthy; what served before serves on.
        EnvironmentFault: the disk or the port is unavailable; likewise.
    """
    started = time.monotonic()
    home, version = production.home, target_version.version
    journal = Journal.start(
        home,
        kind,
        model=version.name,
        version=version.number,
        bundle=version.digest,
        approval=target_version.approval_digest,
        former_version=former[0],
        former_bundle=former[1],
        by=by,
        reason=reason,
        run_id=run_id,
    )
    with ExitStack() as undo:
        made: list[tuple[Handover, float]] = []

        def deploy() -> None:
            handover = undo.enter_context(
                production.target.handover(
                    production.placement, target_version.bundle, version.number
                )
            )
            made.append((handover, time.monotonic() - started))
            check_digest(production.placement.name, handover.deployment, version.digest)

        def file() -> None:
            _write_down(home, journal, target_version, made[0][0].deployment.url, undo, fault_point)

        try:
            perform([Step("deploy", deploy), Step("file", file)], journal, fault_point)
        except BaseException:
            undo.close()
            journal.close("taken back")
            raise
        handover, seconds = made[0]
        undo.pop_all()
    handover.commit()
    return SwitchResult(
        version=version,
        former=former,
        deployment=handover.deployment,
        approval=target_version.approval,
        seconds=seconds,
        open=_update_registry(registry, production, journal, fault_point),
    )


def complete(
    registry: Registry,
    keys: Sequence[SSlibKey],
    production: Production,
    journal: Journal,
) -> None:
    """Complete a change that was interrupted, or that the registry lacks.

    Raises:
        Refused: the version does not verify any more.
        EnvironmentFault: registry, disk or port are unavailable; the journal stays open.
    """
    record, home = journal.record, production.home
    with (
        verified_version(registry, keys, home, record.version, record.bundle) as target_version,
        ExitStack() as undo,
    ):
        serving = deploy(
            production.target, production.placement, target_version.bundle, record.version
        )
        if record.steps.get("file") != "made":
            _write_down(home, journal, target_version, serving.url, undo, no_faults)
        undo.pop_all()
    _move_alias(registry, production, journal, no_faults)


def realign(
    snapshot: RegistrySnapshot,
    production: Production,
    target_version: VerifiedVersion,
    *,
    by: str,
    reason: str,
    run_id: str,
    fault_point: FaultHook = no_faults,
) -> AliasUpdate:
    """Let the registry say what history and production agree on: its alias, and its last lease.

    What the snapshot says decides whether there is a difference; a change reads the registry anew.

    Returns:
        From where it was moved, or why registry and production still differ.
    """
    version = target_version.version
    try:
        state, leases = snapshot.read()
        _registered(state, version.number, version.digest)
        champion = present_champion(state)
        if champion == version and last_change_was_to(leases, version):
            return AliasUpdate()
        if champion is not None and champion != version:
            check_by_hand(leases, production.home, champion)
    except PipelineError as error:
        return AliasUpdate(open=str(error))
    journal = Journal.start(
        production.home,
        "reconcile",
        model=version.name,
        version=version.number,
        bundle=version.digest,
        approval=target_version.approval_digest,
        former_version=None if champion is None else champion.number,
        former_bundle=None if champion is None else champion.digest,
        by=by,
        reason=reason,
        run_id=run_id,
        steps={"deploy": "made", "file": "made"},
    )
    if still := _update_registry(snapshot.registry, production, journal, fault_point):
        return AliasUpdate(open=still)
    if champion == version:
        return AliasUpdate(f"the registry's last change leads to version {version.number} again")
    was = "named no version" if champion is None else f"named version {champion.number}"
    return AliasUpdate(
        f"the registry's alias '{CHAMPION}' {was} and names version {version.number} again"
    )


def check_by_hand(leases: Sequence[Lease], home: Home, champion: Version) -> None:
    """Let an alias be moved that no change moved, or one that the history knows and went on from.

    Raises:
        EnvironmentFault: a change made this version the champion, or it is not known whether.
    """
    last = last_done(leases)
    if last is None or registry_is_behind(home, last):
        return
    if last.subject is None:
        raise EnvironmentFault(
            f"the champion is version {champion.number}, and the registry does not say whether it "
            "was promoted elsewhere or the alias was moved by hand",
            hint=f"see which version is to serve, and set the alias '{CHAMPION}' to it",
        )
    if last.is_about(champion.number, champion.digest):
        raise EnvironmentFault(
            f"the champion is version {champion.number}, which was promoted elsewhere "
            f"by {last.holder}",
            hint="run 'ml-pipeline reconcile production' to take it over, then roll back from it "
            "if it is not to serve",
        )


def _registered(state: RegistryState, number: int, digest: str) -> Version:
    """Return the version of a number, which has to be the bundle of this digest.

    Raises:
        EnvironmentFault: it is gone.
        Refused: it is another bundle.
    """
    found = state.find_number(number)
    if found is None:
        raise EnvironmentFault(
            f"the registry has no version {number} of '{state.name}' any more",
            hint=LOST,
        )
    if found.digest != digest:
        raise Refused(
            f"version {number} of the registry holds bundle {found.digest[:12]}",
            expected=digest[:12],
            hint=LOST,
        )
    return found


def _write_down(
    home: Home,
    journal: Journal,
    target_version: VerifiedVersion,
    endpoint: str,
    undo: ExitStack,
    fault_point: FaultHook,
) -> None:
    record = journal.record
    entry = production_history.entry(
        record.kind,
        target_version.version,
        (record.former_version, record.former_bundle),
        endpoint,
        target_version.approval,
        target_version.approval_digest,
        by=record.by,
        reason=record.reason,
        run_id=record.run_id,
    )
    production_history.write_change(home, entry, target_version.approval, None, undo, fault_point)


def _update_registry(
    registry: Registry, production: Production, journal: Journal, fault_point: FaultHook
) -> str:
    """Move the alias and close the journal; return why that is still open, if it is."""
    try:
        _move_alias(registry, production, journal, fault_point)
    except PipelineError as error:
        return str(error)
    return ""


def _move_alias(
    registry: Registry, production: Production, journal: Journal, fault_point: FaultHook
) -> None:
    """Give the alias to the journal's version and close it and all before it, which it replaces.

    A champion that no journal of this home knows of was promoted elsewhere since, and stays.
    """
    record = journal.record
    replaced = [one for one in open_journals(production.home) if one.path.name < journal.path.name]

    def move() -> None:
        for one in replaced:
            if one.record.number is not None:
                registry.leases.release(one.record.number, one.record.token, _outcome(one, record))
        state = registry.read()
        leases = registry.leases.read(state)
        target_version = _registered(state, record.version, record.bundle)
        champion = present_champion(state)
        if champion == target_version and last_change_was_to(leases, target_version):
            return
        known = {record.former_bundle, *_bundles(replaced)}
        if champion not in (None, target_version) and champion.digest not in known:
            check_by_hand(leases, production.home, champion)
        acquire_lease(registry, journal, leases)
        fault_point("within alias, lease acquired")
        if registry.aliases.number_of(CHAMPION) != state.aliases.get(CHAMPION):
            raise EnvironmentFault("the champion moved meanwhile", hint="run it again")
        registry.aliases.set(CHAMPION, target_version)

    def end() -> None:
        number = journal.record.number
        if number is not None:
            registry.leases.release(number, record.token, "done")

    def publish() -> None:
        if record.kind != "reconcile":
            production.publish(record)

    steps: list[tuple[str, Callable[[], None]]]
    steps = [("alias", move), ("end", end), ("publish", publish)]
    perform([Step(*one) for one in steps], journal, fault_point)
    for one in replaced:
        one.close("taken back")
    journal.close("done")


def _outcome(replaced: Journal, record: Record) -> str:
    """Return how a replaced change ended; a promotion whose version served used its approval."""
    served = replaced.record.kind == "promotion" and "deploy" in replaced.record.steps
    return ROLLED_BACK if served and record.kind == "rollback" else TAKEN_BACK


def _bundles(journals: Sequence[Journal]) -> set[str | None]:
    return {digest for one in journals for digest in (one.record.bundle, one.record.former_bundle)}
