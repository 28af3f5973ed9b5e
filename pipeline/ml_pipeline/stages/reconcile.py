"""Makes what an environment serves what it is to serve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ml_pipeline.approval import policy as policies
from ml_pipeline.approval.current_user import user
from ml_pipeline.approval.keys import trusted_keys
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.promotion import desired_state, gitops, production_history, recovery
from ml_pipeline.promotion.cleanup import clean
from ml_pipeline.promotion.desired_state import Desired, Digests
from ml_pipeline.promotion.environment import PRODUCTION, Production, proposed
from ml_pipeline.promotion.lease_history import is_behind, last_done, present_champion
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
    """Production by ``production-model.yaml``, other environments by the registry's challenger.

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
        lambda: _desired(context, registry),
        by=user(),
        reason=f"{production_history.PRODUCTION_MODEL} says so",
        run_id=context.run_id,
        progress=context.progress,
        profile=context.workdir / "data/profile.json",
    )
    return _outcome(context, name, replace(done, changed=(*restored, *done.changed)))


def _desired(context: Context[ReconcileFlags], registry: Registry) -> Desired:
    """Read ``--file``, else the configured repository, else what the last change wrote.

    While the last change waits for its pull request, the home's own file holds; so it does where
    another home changed production since, but then it is the registry that says to what.
    """
    if given := context.flags.file:
        return desired_state.read(Path(given))
    section = context.config.gitops
    own = context.home / production_history.PRODUCTION_MODEL
    if section.repository is None:
        return _taken_over(context, registry) or desired_state.read(own)
    history = production_history.read_history(context.home)
    number = history[-1].version if history else 0
    content = gitops.fetch(section, proposed=proposed(registry.name, number))
    if content is None:
        return desired_state.read(own)
    return desired_state.parse(content, f"{section.path} of {section.branch}")


def _taken_over(context: Context[ReconcileFlags], registry: Registry) -> Desired | None:
    """Return what another home made the champion, or this one before its history was lost."""
    history = production_history.read_history(context.home)
    try:
        state = registry.read()
        last, champion = last_done(registry.leases.read(state)), present_champion(state)
    except EnvironmentFault:
        return None
    if last is None or last.subject is None or champion is None:
        return None
    if not last.is_about(champion.number, champion.digest):
        return None
    if is_behind(context.home, last):
        return None
    if history and (history[-1].version, history[-1].bundle) == (champion.number, champion.digest):
        return None
    digests = Digests(bundle=last.subject.bundle, approval=last.subject.approval)
    return Desired(model_name=registry.name, model_version=champion.number, digests=digests)


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
    number, url = done.version.number, done.deployment.url
    summary = f"{name} serves version {number} at {url}"
    did = [f"before, {done.drift}"] if done.drift else []
    did += [*done.changed, *done.recovered]
    summary += f"; {'; '.join(did)}" if did else "; nothing to change"
    if done.registry:
        summary += f"; the registry differs: {done.registry}"
    checks = recovery.checks(done.recovered)
    checks.append(
        Check(
            name="serves what it is to serve",
            verdict=Verdict.PASS,
            observed=f"version {number}, bundle {done.deployment.digest[:12]}",
            expected=f"bundle {done.version.digest[:12]}",
            why=f"before, {done.drift}" if done.drift else "",
        )
    )
    if done.changed:
        checks.append(
            Check(
                name="set right",
                verdict=Verdict.PASS,
                observed="; ".join(done.changed),
                expected="home and registry as the version that serves asks for",
            )
        )
    if done.approved:
        checks.append(
            Check(
                name="approval",
                verdict=Verdict.PASS,
                observed=done.approved,
                expected="a signature by a trusted key",
            )
        )
        checks.append(
            Check(
                name="champion in the registry",
                verdict=Verdict.FAIL if done.registry else Verdict.PASS,
                required=False,
                observed=done.registry or f"version {number}",
                expected=f"version {number}",
            )
        )
    return Outcome(
        summary=summary,
        checks=[*checks, *clean(context.project, context.home, name, done.deployment)],
        metrics={"url": url, "drift": bool(done.drift), "cause": done.drift},
        model=done.version.ref,
    )
