"""Stage ``promote``: make the approved challenger the champion in production."""

from __future__ import annotations

from ml_pipeline.approval import policy as policies
from ml_pipeline.approval.keys import trusted_keys
from ml_pipeline.approval.subject import check_nothing_to_promote
from ml_pipeline.core import artefacts
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.promotion import production_history, recovery
from ml_pipeline.promotion.cleanup import clean
from ml_pipeline.promotion.environment import PRODUCTION, Production
from ml_pipeline.promotion.promote import Promotion, promote
from ml_pipeline.registry.registry import Registry
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import PromoteFlags
from ml_pipeline.targets.base import Placement
from ml_pipeline.targets.loader import load_target


def run(context: Context[PromoteFlags]) -> Outcome:
    """Promote by the records in the registry; the working folder is not trusted.

    Raises:
        Refused: a record does not verify, challenger or champion moved, or production is not
            healthy; the former state is restored.
        UsageError: there is no environment ``production``, or nothing was registered.
        EnvironmentFault: registry, disk or port are unavailable.
    """
    if PRODUCTION not in context.config.environments:
        raise UsageError("ml.yaml has no environment 'production'", hint="add it to 'environments'")
    placement = Placement.of(context.project, PRODUCTION, context.home)
    policy = policies.load(context.policy, context.config.policy)
    registry = Registry.of(context.project, context.home, context.progress)
    done = promote(
        registry,
        policy,
        trusted_keys(context.home, policy),
        Production(load_target(placement.section.target), placement, context.config.gitops),
        profile=context.workdir / artefacts.PROFILE,
        run_id=context.run_id,
        progress=context.progress,
        expected=context.flags.expect_version,
    )
    cleaned = clean(context.project, context.home, PRODUCTION, done.deployment)
    return Outcome(
        summary=_summary(done),
        checks=[*recovery.checks(done.recovered), *_checks(done), *cleaned],
        metrics={"url": done.deployment.url, "changed": done.changed, "started": done.started},
        model=done.version.ref,
    )


def _summary(done: Promotion) -> str:
    number, url = done.version.number, done.deployment.url
    if not done.changed:
        state = "started again" if done.started else "up"
        return f"nothing to promote: version {number} is the champion; its server is {state}, {url}"
    pushed = f"; {production_history.PRODUCTION_MODEL}: {done.published}" if done.published else ""
    return f"version {number} is in production: {url}{pushed}"


def _checks(done: Promotion) -> list[Check]:
    approval = done.approval
    approved = Check(
        name="approval",
        verdict=Verdict.PASS,
        observed=f"{approval.decision} by {approval.by} ({approval.method}): {approval.reason}",
        expected="a signature by a trusted key",
    )
    if not done.changed:
        return [
            check_nothing_to_promote(done.version.identity),
            approved,
        ]
    former = "no champion" if done.former is None else f"version {done.former.number}"
    return [
        approved,
        Check(
            name="champion unchanged since the comparison",
            verdict=Verdict.PASS,
            observed=former,
            expected="the one that the gate compared with",
        ),
        Check(
            name="production healthy",
            verdict=Verdict.PASS,
            observed=f"{done.deployment.url} serves bundle {done.deployment.digest[:12]}",
            expected="ready, with its golden predictions",
        ),
    ]
