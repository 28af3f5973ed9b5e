"""Stage ``watch``: observe production after a promotion, and roll it back outside its limits."""

from __future__ import annotations

from ml_pipeline.approval import policy as policies
from ml_pipeline.approval.keys import trusted_keys
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.online.metrics_scraper import Servers
from ml_pipeline.promotion import production_watch, watch_state
from ml_pipeline.promotion.environment import PRODUCTION, Production
from ml_pipeline.promotion.production_watch import ProductionWatch, skipped
from ml_pipeline.promotion.rollback import rollback
from ml_pipeline.promotion.switch import SwitchResult
from ml_pipeline.registry.registry import Registry
from ml_pipeline.serving.access import read_token
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import WatchFlags
from ml_pipeline.targets.base import Placement
from ml_pipeline.targets.loader import load_target


def run(context: Context[WatchFlags]) -> Outcome:
    """Watch the last promotion until its time is over or a limit is broken.

    Raises:
        Refused: the version is outside its limits and cannot be rolled back.
        UsageError: there is no environment ``production``, or the token is not set.
        EnvironmentFault: the address is no model server's; or the version is outside its limits,
            and disk, port or registry are unavailable. The next run tries again.
    """
    section = context.config.watch
    if not section.minutes:
        why = "watch.minutes is 0 in ml.yaml, so no promotion is watched; set it to 30, say"
        return Outcome(summary=why, checks=[skipped(why)])
    if PRODUCTION not in context.config.environments:
        raise UsageError("ml.yaml has no environment 'production'", hint="add it to 'environments'")
    placement = Placement.of(context.project, PRODUCTION, context.home)
    production = Production(load_target(placement.section.target), placement, context.config.gitops)
    keys = trusted_keys(context.home, policies.load(context.policy, context.config.policy))
    registry = Registry.of(context.project, context.home, context.progress)
    rolled_back = watch_state.finish(
        registry, keys, production, context.progress
    ) or watch_state.rolled_back(context.home, context.run_id)
    if rolled_back is not None:
        check = Check(name="limits", verdict=Verdict.FAIL, observed=rolled_back.reason)
        return Outcome(
            production_watch.rollback_summary(rolled_back),
            [check],
            {"to": rolled_back.version},
            model=production_watch.model_of(rolled_back),
        )
    promotion = watch_state.due(context.home, section.minutes)
    if isinstance(promotion, str):
        return Outcome(summary=promotion, checks=[skipped(promotion)])
    watched = ProductionWatch(
        context.home,
        section,
        production,
        promotion,
        Servers(
            promotion.endpoint,
            promotion.bundle,
            read_token("127.0.0.1", context.config.serving.token_env),
        ),
        production_watch.reference_predictions(context.home, promotion.bundle),
    )

    def roll_back(reason: str) -> SwitchResult:
        return rollback(
            Registry.of(context.project, context.home, context.progress),
            keys,
            production,
            to=None,
            by=watch_state.BY,
            reason=reason,
            run_id=context.run_id,
            present=(promotion.version, promotion.bundle),
        )

    result = watched.run(context.progress, roll_back, once=context.flags.judge)
    return Outcome(
        summary=result.summary,
        checks=result.checks,
        metrics=result.metrics,
        model=production_watch.model_of(promotion),
        waits=not result.is_over,
    )
