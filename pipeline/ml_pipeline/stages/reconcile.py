"""Stage ``reconcile``: make an environment serve its desired state."""

from __future__ import annotations

from dataclasses import replace

from ml_pipeline.approval import policy as policies
from ml_pipeline.approval.current_user import current_user_name
from ml_pipeline.approval.keys import trusted_keys
from ml_pipeline.core import artefacts
from ml_pipeline.core.errors import UsageError
from ml_pipeline.promotion import production_history
from ml_pipeline.promotion.cleanup import clean
from ml_pipeline.promotion.desired_source import read_desired
from ml_pipeline.promotion.environment import PRODUCTION, Production
from ml_pipeline.promotion.reconcile import Reconciled, reconcile, reconcile_production
from ml_pipeline.promotion.restore import restore
from ml_pipeline.registry.aliases import STAGE_OF
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CHALLENGER, Version
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import ReconcileFlags
from ml_pipeline.targets.base import Placement
from ml_pipeline.targets.loader import load_target


def run(context: Context[ReconcileFlags]) -> Outcome:
    """Reconcile production with its desired state, another environment with the challenger.

    Raises:
        Refused: a bundle or an approval does not verify, or the server is not healthy.
        UsageError: there is no file, or no version is registered.
        EnvironmentFault: registry, disk or port are unavailable.
    """
    name = context.environment or ""
    placement = Placement.of(context.project, name, context.home)
    target = load_target(placement.section.target)
    registry = Registry.of(context.project, context.home, context.progress)
    if name != PRODUCTION:
        if context.flags.file:
            raise UsageError(f"--file is for {PRODUCTION}", hint="leave it out")
        if context.flags.restore_registry:
            raise UsageError(f"--restore-registry is for {PRODUCTION}", hint="leave it out")
        version = _staged(context, registry)
        context.progress(f"comparing with version {version.number}", 0.3)
        return _outcome(context, name, reconcile(registry, version, target, placement))
    policy = policies.load(context.policy, context.config.policy)
    keys = trusted_keys(context.home, policy)
    restored: tuple[str, ...] = ()
    if context.flags.restore_registry:
        restored = restore(registry, keys, context.home, context.progress)
    done = reconcile_production(
        registry,
        policy,
        keys,
        Production(target, placement, context.config.gitops),
        lambda snapshot: read_desired(
            snapshot, context.home, context.config.gitops, context.flags.file
        ),
        by=current_user_name(),
        reason=f"{production_history.PRODUCTION_MODEL} says so",
        run_id=context.run_id,
        progress=context.progress,
        profile=context.workdir / artefacts.PROFILE,
    )
    return _outcome(context, name, replace(done, changed=(*restored, *done.changed)))


def _staged(context: Context[ReconcileFlags], registry: Registry) -> Version:
    """Return the version in MLflow's stage ``Staging`` where stages are used, or the challenger."""
    version = (
        registry.aliases.in_stage(STAGE_OF[CHALLENGER]) if context.config.registry.stages else None
    )
    version = version or registry.read().challenger
    if version is None:
        raise UsageError(
            f"no version of '{registry.name}' is registered", hint="run 'ml-pipeline register'"
        )
    return version


def _outcome(context: Context[ReconcileFlags], name: str, done: Reconciled) -> Outcome:
    return Outcome(
        summary=done.summary(name),
        checks=[*done.checks(), *clean(context.project, context.home, name, done.deployment)],
        metrics={"url": done.deployment.url, "drift": bool(done.drift), "cause": done.drift},
        model=done.version.ref,
    )
