"""The promotion of an approved challenger to champion, with undo of every step.

The order: verify the records; then acquire a lease, hand the server over, check it, move the
alias, write down what is in production. Each step says how it is taken back before it is made, and
the journal tells it before it begins; the former server waits until all of them are done.

What guarantees what, when a promotion is killed or two run at once:

- In one home a file lock lets one change of production run; the system frees it with its holder.
- Between homes the lease of the registry lets one run (see :mod:`ml_pipeline.registry.leases`).
  Its number follows those that were read before the records were verified, so whoever comes second
  is refused, by a registry that says who was first.
- The journal names version, former version and the lease's token before anything is changed. The
  alias decides what the next command does with a promotion that was killed: not moved, what was
  there before is put back; moved, the rest is done. So registry and production agree after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.approval.policy import Policy
from ml_pipeline.approval.statement import Approval, ExpectedApproval, verify
from ml_pipeline.approval.subject import ApprovalFacts, gather_facts, is_champion
from ml_pipeline.approval.validity import check_allowed
from ml_pipeline.core.errors import EnvironmentFault, PipelineError, Refused
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Progress
from ml_pipeline.promotion import approvals, production_history
from ml_pipeline.promotion.agreement import contenders
from ml_pipeline.promotion.approvals import check_approved
from ml_pipeline.promotion.environment import Production, production_lock, registered_bundle
from ml_pipeline.promotion.journal import FaultHook, Journal, Step, no_faults, perform
from ml_pipeline.promotion.lease import acquire_lease
from ml_pipeline.promotion.lease_history import check_unused
from ml_pipeline.promotion.recovery import recover
from ml_pipeline.registry.leases import Lease
from ml_pipeline.registry.records import APPROVAL_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CHAMPION, Version
from ml_pipeline.targets.base import Deployment, Handover, deploy

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey


@dataclass(frozen=True)
class Promotion:
    """What a promotion did. ``changed`` is false where there was nothing to promote."""

    version: Version
    former: Version | None
    deployment: Deployment
    approval: Approval
    changed: bool
    started: bool
    published: str = ""
    """Where ``production-model.yaml`` was pushed; empty without a repository."""
    recovered: tuple[str, ...] = ()
    """What was done with changes of production that had been killed."""


def promote(
    registry: Registry,
    policy: Policy,
    keys: Sequence[SSlibKey],
    production: Production,
    *,
    profile: Path | None,
    run_id: str,
    progress: Progress,
    expected: int | None = None,
    fault_point: FaultHook = no_faults,
) -> Promotion:
    """Make the approved challenger the champion; a champion whose server is down is started again.

    Args:
        registry: Holds the versions with the gate's and the approval's records.
        policy: The rules in force.
        keys: Public keys whose signature counts.
        production: Where it is to serve.
        profile: A profile of data, kept as that of the accepted data if it is of those that the
            version was trained on; None where there is none.
        run_id: Of this run, for the history.
        progress: Told what is being done.
        expected: The version that was shown to whoever decided; None accepts any.
        fault_point: Called at every point of the sequence.

    Raises:
        Refused: a record or a digest does not verify, the champion moved, or the new server is
            not healthy. What was there before is there again.
        UsageError: nothing was registered.
        EnvironmentFault: the registry, the disk or the port is unavailable, or another promotion
            runs. What was there before is there again, or the message says what is not.
    """
    with production_lock(production.home):
        recovered = recover(registry, keys, production, profile, progress)
        done = promote_challenger(
            registry,
            policy,
            keys,
            production,
            profile=profile,
            run_id=run_id,
            progress=progress,
            expected=expected,
            fault_point=fault_point,
        )
        return replace(done, recovered=recovered)


def promote_challenger(
    registry: Registry,
    policy: Policy,
    keys: Sequence[SSlibKey],
    production: Production,
    *,
    profile: Path | None,
    run_id: str,
    progress: Progress,
    expected: int | None = None,
    fault_point: FaultHook = no_faults,
) -> Promotion:
    """Promote as ``promote`` does. The caller holds the home, and nothing in it is open."""
    found = contenders(registry, production, production.home, expected)
    challenger, champion = found.challenger, found.champion
    if champion is not None and is_champion(challenger, champion):
        return _keep(registry, keys, production, champion, progress)
    facts = gather_facts(registry, challenger, champion, policy)
    approval, content = _approval(registry, policy, keys, facts)
    digest = hashlib.sha256(content).hexdigest()
    _check_unused(production.home, digest)
    check_unused(found.leases, registry.name, digest)
    sequence = _Sequence(
        registry,
        production,
        facts,
        found.leases,
        approval,
        content,
        profile,
        run_id,
        progress,
        fault_point,
    )
    return sequence.run()


def _approval(
    registry: Registry, policy: Policy, keys: Sequence[SSlibKey], facts: ApprovalFacts
) -> tuple[Approval, bytes]:
    content = registry.records.read(facts.challenger, APPROVAL_RECORD)
    if content is None:
        raise Refused(
            f"version {facts.challenger.number} has no approval",
            hint="run 'ml-pipeline approve'",
        )
    expected = ExpectedApproval(
        model=facts.challenger.name,
        version=facts.challenger.number,
        bundle=facts.challenger.digest,
        gate=facts.gate_digest,
        policy=policy.digest,
        champion=facts.champion_digest,
    )
    approval = verify(content, keys, expected)
    check_approved(approval)
    check_allowed(
        policy,
        decision=approval.decision,
        by=approval.by,
        method=approval.method,
        authors=approval.authors,
    )
    return approval, content


def _check_unused(home: Home, approval_digest: str) -> None:
    """Check that the approval was not used: its champion may come back later."""
    for entry in production_history.read_history(home):
        if entry.approval == approval_digest:
            raise Refused(
                f"the approval by {entry.by} was used on {entry.at.date().isoformat()}",
                expected="an approval for each promotion",
                hint="run 'ml-pipeline gate' and 'ml-pipeline approve' again",
            )


def _keep(
    registry: Registry,
    keys: Sequence[SSlibKey],
    production: Production,
    champion: Version,
    progress: Progress,
) -> Promotion:
    """Change nothing; the champion of registry and history serves, if nothing or another does."""
    approval, _ = approvals.fetch_and_keep(registry, keys, production.home, champion)
    running = production.status()
    started = running is None or running.digest != champion.digest
    if running is None or started:
        progress("starting the champion", 0.3)
        with registered_bundle(registry, champion, production.home) as bundle:
            running = deploy(production.target, production.placement, bundle, champion.number)
    production_history.follow(production.home, running.url, approval)
    return Promotion(champion, champion, running, approval, changed=False, started=started)


class _Sequence:
    """One promotion, from the lease to the end of the former server."""

    def __init__(
        self,
        registry: Registry,
        production: Production,
        facts: ApprovalFacts,
        leases: Sequence[Lease],
        approval: Approval,
        content: bytes,
        profile: Path | None,
        run_id: str,
        progress: Progress,
        fault_point: FaultHook,
    ) -> None:
        self.registry, self.production = registry, production
        self.version, self.former = facts.challenger, facts.champion
        self.leases = self.earlier = leases
        self.approval, self.content = approval, content
        self.profile = production_history.profile_of(self.version, profile)
        self.run_id, self.progress, self.fault_point = run_id, progress, fault_point
        self.undo = ExitStack()
        self.handover: Handover | None = None
        self.published = ""

    def run(self) -> Promotion:
        former = (None, None) if self.former is None else (self.former.number, self.former.digest)
        self.journal = Journal.start(
            self.production.home,
            "promotion",
            model=self.version.name,
            version=self.version.number,
            bundle=self.version.digest,
            approval=hashlib.sha256(self.content).hexdigest(),
            former_version=former[0],
            former_bundle=former[1],
            by=self.approval.by,
            reason=self.approval.reason,
            run_id=self.run_id,
        )
        self.known = former
        names: tuple[Callable[[], None], ...]
        names = (self.lease, self.deploy, self.check, self.alias, self.file)
        try:
            perform([Step(one.__name__, one) for one in names], self.journal, self.fault_point)
        except BaseException:
            self.take_back()
            raise
        self.undo.pop_all()
        last = [Step("end", self.end), Step("publish", self.publish)]
        perform(last, self.journal, self.fault_point)
        self.journal.close("done")
        return Promotion(
            self.version,
            self.former,
            self.deployment,
            self.approval,
            changed=True,
            started=True,
            published=self.published,
        )

    @property
    def deployment(self) -> Deployment:
        if self.handover is None:
            raise AssertionError("a step before 'deploy' asks for the server")
        return self.handover.deployment

    def lease(self) -> None:
        self.progress("acquiring the lease", 0.1)
        self.earlier = acquire_lease(self.registry, self.journal, self.leases)
        self.fault_point("within lease, acquired")
        self.check_champion()
        check_unused(self.earlier, self.registry.name, self.journal.record.approval)

    def deploy(self) -> None:
        home = self.production.home
        self.progress("fetching and verifying the bundle", 0.2)
        approvals.keep_approval(home, self.version.digest, self.content)
        with registered_bundle(self.registry, self.version, home) as bundle:
            self.progress("starting the new server", 0.3)
            self.handover = self.undo.enter_context(
                self.production.target.handover(
                    self.production.placement, bundle, self.version.number
                )
            )

    def check(self) -> None:
        wanted = self.version.digest
        for answering in (self.deployment, self.production.status()):
            if answering is None:
                raise Refused("production does not answer", expected=f"bundle {wanted[:12]}")
            if answering.digest != wanted:
                raise Refused(
                    f"production serves bundle {answering.digest[:12]}", expected=wanted[:12]
                )
        self.check_champion()

    def check_champion(self) -> None:
        former = None if self.former is None else self.former.number
        if self.registry.aliases.number_of(CHAMPION) != former:
            moved = self.earlier[len(self.leases) :]
            by = f" (by {moved[-1].holder})" if moved else ""
            raise Refused(
                f"the champion moved meanwhile{by}",
                hint="run 'ml-pipeline gate' and 'ml-pipeline approve' again",
            )

    def alias(self) -> None:
        self.progress("moving the alias", 0.8)
        self.undo.callback(_restore_alias, self.registry, self.former)
        self.registry.aliases.set(CHAMPION, self.version)

    def file(self) -> None:
        self.progress("writing the records", 0.9)
        entry = production_history.entry(
            "promotion",
            self.version,
            self.known,
            self.deployment.url,
            self.approval,
            hashlib.sha256(self.content).hexdigest(),
            run_id=self.run_id,
        )
        production_history.write_change(
            self.production.home, entry, self.approval, self.profile, self.undo, self.fault_point
        )

    def end(self) -> None:
        """End the former server and the lease: what is in production is not taken back by it."""
        if self.handover is not None:
            _let_go(self.handover, self.version)
        record = self.journal.record
        if record.number is not None:
            self.registry.leases.release(record.number, record.token, "done")

    def publish(self) -> None:
        """Push the file. Production and registry agree by now, so a failure takes nothing back."""
        self.progress("pushing production-model.yaml", 0.95)
        try:
            self.published = self.production.publish(self.journal.record)
        except PipelineError as error:
            raise EnvironmentFault(
                f"version {self.version.number} is in production, but what it is was not pushed: "
                f"{error}",
                hint="run 'ml-pipeline promote' again",
            ) from error

    def take_back(self) -> None:
        """Undo what was done, in reverse; the journal stays open where that is not known to work.

        Raises:
            EnvironmentFault: something was not put back.
        """
        self.undo.close()
        record = self.journal.record
        with suppress(PipelineError):  # the next command ends the lease; what went wrong says more
            if record.number is not None:
                self.registry.leases.release(record.number, record.token, "taken back")
            self.journal.close("taken back")


def _let_go(handover: Handover, version: Version) -> None:
    """End the former server; the new one serves and is written down, so this takes nothing back."""
    try:
        handover.commit()
    except (PipelineError, OSError, KeyboardInterrupt) as error:
        why = str(error) or "interrupted"
        raise EnvironmentFault(
            f"version {version.number} is in production, but the switch was not finished: {why}",
            hint="run 'ml-pipeline promote' again",
        ) from error


def _restore_alias(registry: Registry, former: Version | None) -> None:
    try:
        registry.aliases.set(CHAMPION, former)
    except PipelineError as error:
        wanted = "no version" if former is None else f"version {former.number}"
        raise EnvironmentFault(
            f"the promotion was taken back, but the alias '{CHAMPION}' may not be: {error}",
            expected=f"the alias on {wanted}",
            hint="run 'ml-pipeline promote' when the registry answers again",
        ) from error
