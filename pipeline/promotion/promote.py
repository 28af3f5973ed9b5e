"""From an approved challenger to the champion in production, or back to what was there before.

The order: verify the records, hand the server over, move the alias, write down what is in
production. Each step registers how it is taken back before it is made; the former server waits
until all of them are done.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from pipeline.approval.facts import Facts, candidates, gather, is_champion
from pipeline.approval.policy import Policy
from pipeline.approval.rules import check_allowed
from pipeline.approval.statement import Approval, Expected, read, verify
from pipeline.deploy.base import Deployment, Handover, Placement, Target, deploy
from pipeline.errors import EnvironmentFault, PipelineError, Refused
from pipeline.home import Home
from pipeline.promotion import records
from pipeline.registry.mlflow_registry import (
    APPROVAL_RECORD,
    CHAMPION,
    Registry,
    Version,
)
from pipeline.report import Progress

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

PRODUCTION = "production"
LOCK = "promotion.lock"
LOCK_TIMEOUT = 60.0
"""Seconds to wait for another promotion in the same home."""


@dataclass(frozen=True)
class Production:
    """Where the champion serves."""

    target: Target
    placement: Placement

    @property
    def home(self) -> Home:
        return self.placement.home

    def status(self) -> Deployment | None:
        return self.target.status(self.placement)


@dataclass(frozen=True)
class Promotion:
    """What a promotion did. ``changed`` is false where there was nothing to promote."""

    version: Version
    former: Version | None
    deployment: Deployment
    approval: Approval
    changed: bool
    started: bool


def promote(
    registry: Registry,
    policy: Policy,
    keys: Sequence[SSlibKey],
    production: Production,
    *,
    profile: Path | None,
    run_id: str,
    progress: Progress,
) -> Promotion:
    """Make the approved challenger the champion; a champion whose server is down is started again.

    Args:
        registry: Holds the versions with the gate's and the approval's records.
        policy: The rules in force.
        keys: Public keys whose signature counts.
        production: Where it is to serve.
        profile: The profile of the data that it was trained on, kept as the accepted data; None
            where it is not at hand.
        run_id: Of this run, for the history.
        progress: Told what is being done.

    Raises:
        Refused: a record or a digest does not verify, the champion moved, or the new server is
            not healthy. What was there before is there again.
        UsageError: nothing was registered.
        EnvironmentFault: the registry, the disk or the port is not to be had, or another promotion
            runs. What was there before is there again, or the message says what is not.
    """
    production.home.make()
    try:
        with FileLock(production.home / LOCK, timeout=LOCK_TIMEOUT):
            challenger, champion = candidates(registry)
            if champion is not None and is_champion(challenger, champion):
                return _keep(
                    registry, keys, production, champion, profile, run_id=run_id, progress=progress
                )
            facts = gather(registry, challenger, champion, policy)
            approval, approval_digest = _approval(registry, policy, keys, facts)
            _check_unused(production.home, approval_digest)
            return _switch(
                registry,
                production,
                facts,
                approval,
                approval_digest,
                profile=profile,
                run_id=run_id,
                progress=progress,
            )
    except Timeout:
        raise EnvironmentFault(
            f"another promotion holds {production.home / LOCK}", hint="try again when it has ended"
        ) from None


def _approval(
    registry: Registry, policy: Policy, keys: Sequence[SSlibKey], facts: Facts
) -> tuple[Approval, str]:
    content = registry.record(facts.challenger, APPROVAL_RECORD)
    if content is None:
        raise Refused(
            f"nobody has approved version {facts.challenger.number}",
            hint="run 'ml-pipeline approve'",
        )
    expected = Expected(
        model=facts.challenger.name,
        version=facts.challenger.number,
        bundle=facts.challenger.digest,
        gate=facts.gate_digest,
        policy=policy.digest,
        champion=facts.champion_digest,
    )
    approval = verify(content, keys, expected)
    _check_approved(approval)
    check_allowed(
        policy,
        decision=approval.decision,
        by=approval.by,
        method=approval.method,
        authors=approval.authors,
    )
    return approval, hashlib.sha256(content).hexdigest()


def _check_unused(home: Home, approval_digest: str) -> None:
    """Let an approval count once: the champion it was given against may come back later."""
    for entry in records.read_history(home):
        if entry.approval == approval_digest:
            raise Refused(
                f"the approval by {entry.by} was used on {entry.at.date().isoformat()}",
                expected="an approval for each promotion",
                hint="run 'ml-pipeline gate' and 'ml-pipeline approve' again",
            )


def _check_approved(approval: Approval) -> None:
    if approval.decision != "approve":
        raise Refused(
            f"version {approval.version} was rejected by {approval.by}: {approval.reason}",
            expected="an approval",
        )


def approval_of(
    registry: Registry, keys: Sequence[SSlibKey], champion: Version
) -> tuple[Approval, str]:
    """Return the approval by which a version became champion, and its SHA-256.

    Raises:
        Refused: there is none, no trusted key signed it, or it approves something else.
        EnvironmentFault: the registry does not answer.
    """
    content = registry.record(champion, APPROVAL_RECORD)
    if content is None:
        raise Refused(f"the champion, version {champion.number}, has no approval record")
    approval = read(content, keys)
    if approval.bundle != champion.digest:
        raise Refused(
            f"the champion's approval is for bundle {approval.bundle[:12]}",
            expected=champion.digest[:12],
        )
    _check_approved(approval)
    return approval, hashlib.sha256(content).hexdigest()


def _keep(
    registry: Registry,
    keys: Sequence[SSlibKey],
    production: Production,
    champion: Version,
    profile: Path | None,
    *,
    run_id: str,
    progress: Progress,
) -> Promotion:
    """Change nothing, but finish what an interrupted promotion left open.

    The champion serves, if nothing or something else does, and is written down as what is in
    production, if something else is.
    """
    approval, approval_digest = approval_of(registry, keys, champion)
    running = production.status()
    started = running is None or running.digest != champion.digest
    if running is None or started:
        progress("starting the champion", 0.3)
        with _fetched(registry, champion, production.home) as bundle:
            running = deploy(production.target, production.placement, bundle, champion.number)
    if records.bundle_in_production(production.home) != champion.digest:
        former = next((v for v in registry.versions() if v.digest == approval.champion), None)
        entry = _entry(champion, former, running, approval, approval_digest, run_id)
        with ExitStack() as undo:
            _write_down(production.home, entry, profile, undo)
            undo.pop_all()
    return Promotion(champion, champion, running, approval, changed=False, started=started)


def _switch(
    registry: Registry,
    production: Production,
    facts: Facts,
    approval: Approval,
    approval_digest: str,
    *,
    profile: Path | None,
    run_id: str,
    progress: Progress,
) -> Promotion:
    home, version, former = production.home, facts.challenger, facts.champion
    progress("fetching and verifying the bundle", 0.1)
    with _fetched(registry, version, home) as bundle, ExitStack() as undo:
        progress("starting the new server", 0.3)
        handover = undo.enter_context(
            production.target.handover(production.placement, bundle, version.number)
        )
        deployment = handover.deployment
        if deployment.digest != version.digest:
            raise Refused(
                f"production serves bundle {deployment.digest[:12]}", expected=version.digest[:12]
            )
        progress("moving the alias", 0.8)
        if registry.champion() != former:
            raise Refused(
                "the champion moved while the new server started",
                hint="run 'ml-pipeline gate' and 'ml-pipeline approve' again",
            )
        undo.callback(_restore_alias, registry, former)
        registry.set_alias(CHAMPION, version)
        progress("writing the records", 0.9)
        entry = _entry(version, former, deployment, approval, approval_digest, run_id)
        _write_down(home, entry, profile, undo)
        undo.pop_all()
        _let_go(handover, version)
    return Promotion(version, former, deployment, approval, changed=True, started=True)


def _entry(
    version: Version,
    former: Version | None,
    deployment: Deployment,
    approval: Approval,
    approval_digest: str,
    run_id: str,
) -> records.Entry:
    return records.Entry(
        at=datetime.now(UTC),
        model=version.name,
        version=version.number,
        bundle=version.digest,
        identity=version.identity,
        endpoint=deployment.url,
        by=approval.by,
        reason=approval.reason,
        method=approval.method,
        gate=approval.gate,
        policy=approval.policy,
        approval=approval_digest,
        former_version=None if former is None else former.number,
        former_bundle=None if former is None else former.digest,
        run_id=run_id,
    )


def _write_down(home: Home, entry: records.Entry, profile: Path | None, undo: ExitStack) -> None:
    """Write what is in production; ``undo`` learns how each file is taken back."""
    steps = [records.production_model(home, entry), records.history(home, entry)]
    if profile is not None:
        steps.insert(1, records.accepted_profile(home, profile))
    for step in steps:
        undo.callback(step.undo)
        step.do()


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
        registry.set_alias(CHAMPION, former)
    except PipelineError as error:
        wanted = "no version" if former is None else f"version {former.number}"
        raise EnvironmentFault(
            f"the promotion was taken back, but the alias '{CHAMPION}' may not be: {error}",
            expected=f"the alias on {wanted}",
            hint="set it when the registry answers again",
        ) from error


@contextmanager
def _fetched(registry: Registry, version: Version, home: Home) -> Iterator[Path]:
    """Yield the version's verified bundle in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=home.root, prefix=".fetched-") as scratch:
        yield registry.download(version, Path(scratch) / "bundle")
