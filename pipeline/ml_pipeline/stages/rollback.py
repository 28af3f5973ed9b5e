"""Stage ``rollback``: put an earlier version back into production."""

from __future__ import annotations

from ml_pipeline.approval import policy as policies
from ml_pipeline.approval.current_user import current_user_name
from ml_pipeline.approval.keys import trusted_keys
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.promotion.cleanup import clean
from ml_pipeline.promotion.environment import PRODUCTION, Production
from ml_pipeline.promotion.rollback import rollback
from ml_pipeline.promotion.switch import SwitchResult
from ml_pipeline.registry.registry import Registry
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import RollbackFlags
from ml_pipeline.targets.base import Placement
from ml_pipeline.targets.loader import load_target


def run(context: Context[RollbackFlags]) -> Outcome:
    """Roll back with the home's releases and history, and update the registry if it is available.

    Raises:
        Refused: the version was never in production, does not verify, or is not healthy.
        UsageError: no reason is given, or there is no environment ``production``.
        EnvironmentFault: disk or port are unavailable, or another change of production runs.
    """
    reason = (context.flags.reason or "").strip()
    if not reason:
        raise UsageError(
            "rollback needs --reason",
            expected="why, in a few words",
            hint="add --reason TEXT: it is kept in the history",
        )
    if PRODUCTION not in context.config.environments:
        raise UsageError("ml.yaml has no environment 'production'", hint="add it to 'environments'")
    placement = Placement.of(context.project, PRODUCTION, context.home)
    policy = policies.load(context.policy, context.config.policy)
    done = rollback(
        Registry.of(context.project, context.home, context.progress),
        trusted_keys(context.home, policy),
        Production(load_target(placement.section.target), placement, context.config.gitops),
        to=context.flags.to,
        by=(context.flags.by or "").strip() or current_user_name(),
        reason=reason,
        run_id=context.run_id,
    )
    number = done.version.number
    summary = f"version {number} is in production again: {done.deployment.url}"
    if done.former[0] is not None:
        summary += f"; it was version {done.former[0]}"
    if done.open:
        summary += "; the registry is out of date until the next promote or reconcile"
    return Outcome(
        summary=summary,
        checks=[*checks(done), *clean(context.project, context.home, PRODUCTION, done.deployment)],
        metrics={
            "url": done.deployment.url,
            "from": done.former[0],
            "to": number,
            "seconds": round(done.seconds, 3),
        },
        model=done.version.ref,
    )


def checks(done: SwitchResult) -> list[Check]:
    """Return the checks of a rollback: approval, health, and the champion in the registry."""
    approval = done.approval
    return [
        Check(
            name="approval",
            verdict=Verdict.PASS,
            observed=f"{approval.decision} by {approval.by} ({approval.method}): {approval.reason}",
            expected="a signature by a trusted key",
        ),
        Check(
            name="production healthy",
            verdict=Verdict.PASS,
            observed=f"{done.deployment.url} serves bundle {done.deployment.digest[:12]}",
            expected="ready, with its golden predictions",
        ),
        Check(
            name="champion in the registry",
            verdict=Verdict.FAIL if done.open else Verdict.PASS,
            required=False,
            observed=done.open or f"version {done.version.number}",
            expected=f"version {done.version.number}",
            why="the next promote or reconcile moves the alias" if done.open else "",
        ),
    ]
