"""Makes what an environment serves what it is to serve, and says why it was not.

The same again changes nothing, and what a killed one left the next one finishes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.deploy.base import Deployment, Placement, Target, check_digest
from pipeline.errors import EnvironmentFault, PipelineError, Refused
from pipeline.promotion import records
from pipeline.promotion.change import Verified, change, verified
from pipeline.promotion.desired import Desired
from pipeline.promotion.journal import Reach, nowhere
from pipeline.promotion.production import Production, alone, fetched
from pipeline.promotion.settle import settle
from pipeline.registry.mlflow_registry import Registry, Version
from pipeline.report import Progress

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey


@dataclass(frozen=True)
class Reconciled:
    """What serves now, and what was wrong; ``drift`` is empty where nothing was."""

    version: Version
    deployment: Deployment
    drift: str
    approved: str = ""
    """By whom, where the environment asks for it."""
    settled: tuple[str, ...] = ()
    registry: str = ""
    """How the registry differs or why it was not told; empty where it agrees."""


def reconcile_production(
    registry: Registry,
    keys: Sequence[SSlibKey],
    production: Production,
    desired: Callable[[], Desired],
    *,
    by: str,
    reason: str,
    run_id: str,
    progress: Progress,
    reach: Reach = nowhere,
) -> Reconciled:
    """Let production serve what ``desired`` says, if its bundle and its approval verify.

    The registry is needed only for what the home does not keep; its alias follows.

    Args:
        registry: Asked for what the home lacks, and told.
        keys: Public keys whose signature counts.
        production: Where it is to serve.
        desired: Reads the file; called after killed changes are settled, which may write it.
        by: Who asks for it, for the history.
        reason: Why, likewise.
        run_id: Of this run.
        progress: Told what is being done.
        reach: Told every point of a change.

    Raises:
        Refused: the version does not verify, or its server is not healthy; what served before
            serves on.
        UsageError: the file cannot be read.
        EnvironmentFault: the disk, the port or what is needed of the registry is not to be had.
    """
    home = production.home
    with alone(home):
        settled: tuple[str, ...] = ()
        unknown = ""
        try:
            settled = settle(registry, keys, production, None, progress)
        except EnvironmentFault as error:
            unknown = str(error)
        wanted = desired()
        digest = wanted.digests.bundle
        if wanted.model_name != registry.name:
            raise Refused(
                f"the file is about model '{wanted.model_name}'", expected=f"'{registry.name}'"
            )
        with verified(registry, keys, home, wanted.model_version, digest) as proven:
            if proven.approval_digest != wanted.digests.approval:
                raise Refused(
                    f"the file names approval {wanted.digests.approval[:12]}",
                    expected=f"{proven.approval_digest[:12]}, that of version "
                    f"{wanted.model_version}",
                )
            history = records.read_history(home)
            actual = production.status()
            drift = _cause(actual, digest, {entry.bundle for entry in history})
            if history and history[-1].bundle == digest:
                serving, drift = _serve(production.target, production.placement, proven, drift)
                records.follow(home, serving.url, proven.approval)
                unknown = unknown or _differs(registry, proven.version)
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
                    reach=reach,
                )
                recorded = "nothing" if was is None else f"version {was.version}"
                drift = drift or f"{recorded} was recorded as what is in production"
                serving, unknown = done.deployment, done.open
        approval = proven.approval
        return Reconciled(
            version=proven.version,
            deployment=serving,
            drift=drift,
            approved=f"{approval.decision} by {approval.by} ({approval.method})",
            settled=settled,
            registry=unknown,
        )


def reconcile(
    registry: Registry, version: Version, target: Target, placement: Placement
) -> Reconciled:
    """Let an environment without approvals serve a registered version.

    Raises:
        Refused: the bundle does not verify, or its server is not healthy.
        EnvironmentFault: registry, disk or port are not to be had.
    """
    drift = _cause(target.status(placement), version.digest, set())
    with (
        fetched(registry, version, placement.home) as bundle,
        target.handover(placement, bundle, version.number) as handover,
    ):
        check_digest(placement.name, handover.deployment, version.digest)
        handover.commit()
    if handover.changed and not drift:
        drift = "its settings were others"
    return Reconciled(version, handover.deployment, drift)


def _serve(
    target: Target, placement: Placement, wanted: Verified, drift: str
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


def _differs(registry: Registry, version: Version) -> str:
    try:
        champion = registry.champion()
    except PipelineError as error:
        return str(error)
    if champion == version:
        return ""
    return "no champion" if champion is None else f"the champion is version {champion.number}"
