"""Make an environment serve its desired state, and report how it differed.

It is idempotent: a second run changes nothing, and completes what an interrupted run began.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.approval.policy import Policy
from ml_pipeline.approval.statement import Approval
from ml_pipeline.core.errors import EnvironmentFault, PipelineError, Refused
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, Progress, Verdict
from ml_pipeline.promotion import production_history, recovery
from ml_pipeline.promotion.desired_state import Desired
from ml_pipeline.promotion.environment import Production, production_lock, registered_bundle
from ml_pipeline.promotion.journal import FaultHook, no_faults
from ml_pipeline.promotion.lease_history import DONE, RegistrySnapshot, registry_is_behind
from ml_pipeline.promotion.production_history import Entry
from ml_pipeline.promotion.promote import promote_challenger
from ml_pipeline.promotion.recovery import recover
from ml_pipeline.promotion.rollback import (
    ProductionChange,
    changes_of,
    rollback_stack,
    rolled_back,
    stack_of,
)
from ml_pipeline.promotion.switch import VerifiedVersion, change, realign, verified_version
from ml_pipeline.registry.records import APPROVAL_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version
from ml_pipeline.targets.base import Deployment, Placement, Target, check_digest

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey


@dataclass(frozen=True)
class Reconciled:
    """The result: what is served now, how it differed, and what was changed."""

    version: Version
    deployment: Deployment
    drift: str
    """Why the environment did not serve ``version``; empty where it did."""
    approved: str = ""
    """By whom, where the environment asks for it."""
    recovered: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """What else was changed, in words: the alias, the home's files, a promotion."""
    registry: str = ""
    """How the registry differs, or why it was not updated; empty where it agrees."""

    def summary(self, environment: str) -> str:
        """Return one line: what is served, and what was changed."""
        changes = [f"before, {self.drift}"] if self.drift else []
        changes += [*self.changed, *self.recovered]
        served = f"{environment} serves version {self.version.number} at {self.deployment.url}"
        summary = f"{served}; {'; '.join(changes) or 'nothing to change'}"
        return f"{summary}; the registry differs: {self.registry}" if self.registry else summary

    def checks(self) -> list[Check]:
        """Return the checks of the stage's report."""
        version = f"version {self.version.number}"
        every = recovery.checks(self.recovered)
        every.append(
            Check(
                name="serves what it is to serve",
                verdict=Verdict.PASS,
                observed=f"{version}, bundle {self.deployment.digest[:12]}",
                expected=f"bundle {self.version.digest[:12]}",
                why=f"before, {self.drift}" if self.drift else "",
            )
        )
        if self.changed:
            every.append(
                Check(
                    name="set right",
                    verdict=Verdict.PASS,
                    observed="; ".join(self.changed),
                    expected="home and registry as the version that serves asks for",
                )
            )
        if self.approved:
            every.append(
                Check(
                    name="approval",
                    verdict=Verdict.PASS,
                    observed=self.approved,
                    expected="a signature by a trusted key",
                )
            )
            every.append(
                Check(
                    name="champion in the registry",
                    verdict=Verdict.FAIL if self.registry else Verdict.PASS,
                    required=False,
                    observed=self.registry or version,
                    expected=version,
                )
            )
        return every


def reconcile_production(
    registry: Registry,
    policy: Policy,
    keys: Sequence[SSlibKey],
    production: Production,
    desired: Callable[[RegistrySnapshot], Desired],
    *,
    by: str,
    reason: str,
    run_id: str,
    progress: Progress,
    profile: Path | None = None,
    fault_point: FaultHook = no_faults,
) -> Reconciled:
    """Make production serve the desired version, by the rules of promotion and rollback.

    It may be:

    - what production is to serve already, or what another home made the champion since;
    - an earlier version of production that was not rolled back;
    - the challenger, if ``promote`` would promote it: it is promoted.

    The registry is needed only for what the home does not keep; its alias follows.

    Args:
        registry: Read for what the home lacks, and updated.
        policy: The rules in force, for a promotion.
        keys: Public keys whose signature counts.
        production: Where it is to serve.
        desired: Reads the file; called after killed changes are recovered, which may write it.
        by: Who asks for it, for the history.
        reason: The reason, for the history.
        run_id: Of this run.
        progress: Called with the present step.
        profile: See ``promote``.
        fault_point: Called at every point of a change.

    Raises:
        Refused: the version was rolled back, may not be promoted or does not verify, or its server
            is not healthy; what served before serves on.
        UsageError: the file cannot be read.
        EnvironmentFault: the disk, the port or what is needed of the registry is unavailable.
    """
    home = production.home
    with production_lock(home):
        recovered: tuple[str, ...] = ()
        unknown = ""
        try:
            recovered = recover(registry, keys, production, None, progress)
        except EnvironmentFault as error:
            unknown = str(error)
        snapshot = RegistrySnapshot(registry)
        wanted = desired(snapshot)
        digest = wanted.digests.bundle
        if wanted.model_name != registry.name:
            raise Refused(
                f"the file is about model '{wanted.model_name}'", expected=f"'{registry.name}'"
            )
        history = production_history.read_history(home)
        if not _was_in_production(snapshot, home, history, wanted):
            return _forward(
                snapshot,
                policy,
                keys,
                production,
                wanted,
                recovered,
                profile=profile,
                run_id=run_id,
                progress=progress,
                fault_point=fault_point,
            )
        with verified_version(registry, keys, home, wanted.model_version, digest) as proven:
            if proven.approval_digest != wanted.digests.approval:
                raise _other_approval(wanted, proven.approval_digest)
            actual = production.status()
            drift = _cause(actual, digest, {entry.bundle for entry in history})
            changes = list(proven.restored)
            if history and history[-1].bundle == digest:
                serving, drift = _serve(production.target, production.placement, proven, drift)
                if production_history.follow(home, serving.url, proven.approval):
                    changes.append(f"{production_history.PRODUCTION_MODEL} was written again")
                if not unknown:
                    update = realign(
                        snapshot,
                        production,
                        proven,
                        by=by,
                        reason=reason,
                        run_id=run_id,
                        fault_point=fault_point,
                    )
                    changes += [update.moved] if update.moved else []
                    unknown = update.open
            else:
                was = history[-1] if history else None
                done = change(
                    "reconcile",
                    registry,
                    production,
                    proven,
                    former=(None, None) if was is None else (was.version, was.bundle),
                    by=by,
                    reason=reason,
                    run_id=run_id,
                    fault_point=fault_point,
                )
                recorded = "nothing" if was is None else f"version {was.version}"
                drift = drift or f"{recorded} was recorded as what is in production"
                serving, unknown = done.deployment, done.open
        return Reconciled(
            version=proven.version,
            deployment=serving,
            drift=drift,
            approved=_approved(proven.approval),
            recovered=recovered,
            changed=tuple(changes),
            registry=unknown,
        )


def _was_in_production(
    snapshot: RegistrySnapshot, home: Home, history: Sequence[Entry], wanted: Desired
) -> bool:
    """Return whether a version was in production and was not rolled back.

    Raises:
        Refused: it was rolled back.
        EnvironmentFault: the home does not know, and the registry does not answer.
    """
    one = (wanted.model_version, wanted.digests.bundle)
    known = one in {(entry.version, entry.bundle) for entry in history}
    if known and one not in rollback_stack(history):
        raise rolled_back(changes_of(history), one)
    try:
        _, leases = snapshot.read()
        done = [lease for lease in leases if lease.ended == DONE]
    except PipelineError:
        if known:
            return True
        raise
    if known and done and registry_is_behind(home, done[-1]):
        return True
    elsewhere = [
        ProductionChange(
            (lease.subject.version, lease.subject.bundle), lease.holder.by, lease.holder.at
        )
        for lease in done
        if lease.subject is not None
    ]
    references = [change.reference for change in elsewhere]
    if one in references and one not in stack_of(references):
        raise rolled_back(elsewhere, one)
    return known or (bool(done) and done[-1].is_about(*one))


def _forward(
    snapshot: RegistrySnapshot,
    policy: Policy,
    keys: Sequence[SSlibKey],
    production: Production,
    wanted: Desired,
    recovered: tuple[str, ...],
    *,
    profile: Path | None,
    run_id: str,
    progress: Progress,
    fault_point: FaultHook,
) -> Reconciled:
    """Promote the version that is desired, by all the rules of a promotion.

    Raises:
        Refused: it is not the challenger with the approval that the file names, or ``promote``
            refuses it.
    """
    registry, (state, _) = snapshot.registry, snapshot.read()
    challenger = state.challenger
    named = (wanted.model_version, wanted.digests.bundle)
    if challenger is None or (challenger.number, challenger.digest) != named:
        raise Refused(
            f"version {named[0]}, bundle {named[1][:12]}, was never in production",
            expected="what was in production and not rolled back, or the approved challenger",
            hint="to promote it run 'ml-pipeline gate', 'approve' and 'promote'",
        )
    content = registry.records.read(challenger, APPROVAL_RECORD)
    if content is not None and (found := hashlib.sha256(content).hexdigest()) != (
        wanted.digests.approval
    ):
        raise _other_approval(wanted, found)
    before = production.status()
    done = promote_challenger(
        registry,
        policy,
        keys,
        production,
        profile=profile,
        run_id=run_id,
        progress=progress,
        fault_point=fault_point,
    )
    return Reconciled(
        version=done.version,
        deployment=done.deployment,
        drift=_cause(before, done.version.digest, set()),
        approved=_approved(done.approval),
        recovered=recovered,
        changed=(f"version {done.version.number} was promoted",) if done.changed else (),
    )


def _approved(approval: Approval) -> str:
    return f"{approval.decision} by {approval.by} ({approval.method})"


def _other_approval(wanted: Desired, found: str) -> Refused:
    return Refused(
        f"the file names approval {wanted.digests.approval[:12]}",
        expected=f"{found[:12]}, that of version {wanted.model_version}",
    )


def reconcile(
    registry: Registry, version: Version, target: Target, placement: Placement
) -> Reconciled:
    """Let an environment without approvals serve a registered version.

    Raises:
        Refused: the bundle does not verify, or its server is not healthy.
        EnvironmentFault: registry, disk or port are unavailable.
    """
    drift = _cause(target.status(placement), version.digest, set())
    with (
        registered_bundle(registry, version, placement.home) as bundle,
        target.handover(placement, bundle, version.number) as handover,
    ):
        check_digest(placement.name, handover.deployment, version.digest)
        handover.commit()
    if handover.changed and not drift:
        drift = "its settings were others"
    return Reconciled(version, handover.deployment, drift)


def _serve(
    target: Target, placement: Placement, wanted: VerifiedVersion, drift: str
) -> tuple[Deployment, str]:
    with target.handover(placement, wanted.bundle, wanted.version.number) as handover:
        check_digest(placement.name, handover.deployment, wanted.version.digest)
        handover.commit()
    if handover.changed and not drift:
        drift = "its settings were others"
    return handover.deployment, drift


def _cause(actual: Deployment | None, digest: str, known: set[str]) -> str:
    """Return why an environment does not serve this bundle; nothing where it does."""
    if actual is None:
        return "no server answered as recorded"
    if actual.digest == digest:
        return ""
    named = f"version {actual.version}, bundle {actual.digest[:12]}, served"
    if known and actual.digest not in known:
        return f"{named}, which was never promoted here"
    return named
