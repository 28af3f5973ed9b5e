"""Stage ``shadow``: compare the challenger's predictions with the champion's on the same requests.

The requests are replayed to both, or production's server copies its own (a live shadow).
"""

from __future__ import annotations

from pathlib import Path

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.online import live_shadow, recorded_requests, shadow_replay
from ml_pipeline.online.deployed_version import check_served_version, find_deployment, model_of
from ml_pipeline.online.live_shadow_judgement import check_same_versions, judge_live
from ml_pipeline.online.replay_requests import ReplayRequests, choose_requests
from ml_pipeline.promotion.environment import PRODUCTION
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version
from ml_pipeline.serving.access import read_token
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import ShadowFlags
from ml_pipeline.targets.base import Deployment, Placement


def run(context: Context[ShadowFlags]) -> Outcome:
    """Replay requests to both, or start or judge a live shadow.

    Raises:
        UsageError: both flags, no live shadow to judge, no requests to replay, or a target whose
            servers cannot copy requests.
        Refused: the challenger needs features that production's requests lack.
        EnvironmentFault: nothing is served, or the registry is unavailable.
    """
    start, judge = context.flags.start, context.flags.judge
    if start and judge:
        raise UsageError("--start and --judge at once", expected="one of them, or none to replay")
    name = context.environment or ""
    if name == PRODUCTION:
        raise UsageError(f"{PRODUCTION} is what others are compared with", expected="staging, say")
    placement = Placement.of(context.project, name, context.home)
    if judge:
        return _judge(context, placement)
    deployment = find_deployment(placement)
    bundle = Bundle.open(deployment.bundle)
    token = read_token("127.0.0.1", context.config.serving.token_env)
    served = check_served_version(deployment, bundle, token)
    if served.verdict is not Verdict.PASS:
        model = model_of(deployment, bundle)
        return Outcome(summary=served.why, checks=[served], model=model)
    if start:
        return _start(context, placement, deployment, bundle)
    return _replay(context, deployment, bundle, token, served)


def _replay(
    context: Context[ShadowFlags],
    deployment: Deployment,
    bundle: Bundle,
    token: str | None,
    served: Check,
) -> Outcome:
    section, serving = context.config.shadow, context.config.serving
    context.progress("reading the registry", 0.05)
    registry = Registry.of(context.project, context.home, context.progress)
    version = registry.read().champion
    if version is None:
        sent = _requests(context, bundle, None, None)
        context.progress(f"{len(sent.ids)} requests", 0.3)
        compared = shadow_replay.compare_with_trained(deployment, sent, token, section)
        beside = "the trained model (no champion)"
    else:
        with workdir.scratch(context.home.root, ".shadow-") as folder:
            context.progress("starting the champion", 0.1)
            champion = Bundle.open(registry.bundles.download(version, folder / "bundle"))
            log = folder / "champion.log"
            with shadow_replay.serve_champion(champion, version.number, serving, log) as url:
                sent = _requests(context, bundle, champion, version)
                context.progress(f"{len(sent.ids)} requests to both", 0.3)
                compared = shadow_replay.compare_with_champion(
                    deployment, sent, (url, version.number), token, section
                )
        beside = f"the champion, version {version.number}"
    requests = f"{len(sent.ids)} {sent.source} requests"
    return Outcome(
        summary=shadow_replay.summarize(compared, requests, beside),
        checks=[served, *compared.checks],
        metrics={
            "url": deployment.url,
            "required": section.required,
            "source": sent.source,
            "champion_version": None if version is None else version.number,
            **compared.metrics,
        },
        model=model_of(deployment, bundle),
    )


def _requests(
    context: Context[ShadowFlags],
    bundle: Bundle,
    champion: Bundle | None,
    version: Version | None,
) -> ReplayRequests:
    section = context.config.shadow
    recorded: list[recorded_requests.RecordedRow] = []
    has_champion = champion is not None and section.source != "holdout"
    folder = _log_folder(context) if has_champion else None
    if champion is not None and version is not None and folder is not None:
        recorded = recorded_requests.newest(
            folder,
            version=version.number,
            features=champion.schema.names,
            count=section.requests,
        )
        redacted = recorded_requests.redacted_features(folder, version.number)
        if redacted and len(recorded) < section.min_requests:
            why = f"the prediction log lacks values of {', '.join(redacted)} (serving.redact)"
            if section.source == "recorded" and not recorded:
                raise UsageError(
                    f"{why}, so its requests cannot be replayed",
                    hint="set shadow.source to holdout, or start a live shadow with --start",
                )
            context.progress(f"{why}: replaying the holdout", 0.2)
    return choose_requests(
        context.take,
        context.project,
        bundle,
        champion,
        recorded,
        has_holdout=section.source != "recorded" and context.trained(bundle.identity),
    )


def _log_folder(context: Context[ShadowFlags]) -> Path | None:
    """Return the folder of production's log; None if it cannot be copied and others will do.

    Raises:
        EnvironmentFault: it cannot be copied, and only recorded requests are to be replayed.
    """
    try:
        return recorded_requests.prediction_log_folder(context.project, context.home, PRODUCTION)
    except EnvironmentFault as fault:
        if context.config.shadow.source == "recorded":
            raise
        why = f"the prediction log is unavailable: {fault.fault}"
        context.progress(f"{why}; replaying the holdout", 0.2)
        return None


def _start(
    context: Context[ShadowFlags], challenger: Placement, deployment: Deployment, bundle: Bundle
) -> Outcome:
    section, name = context.config.shadow, challenger.name
    if PRODUCTION not in context.config.environments:
        raise UsageError(f"ml.yaml has no environment '{PRODUCTION}' to copy requests from")
    production = Placement.of(context.project, PRODUCTION, context.home)
    live = live_shadow.start_copying(production, challenger, deployment, bundle, section)
    champion = live.champion_version
    until = f"at least {section.min_minutes:g} minutes and {section.min_requests} requests"
    check = Check(
        name="live shadow",
        verdict=Verdict.SKIPPED,
        observed=f"production copies {section.share:.0%} of its requests to {name}",
        expected=until,
        why=f"nothing is judged yet: run 'ml-pipeline shadow {name} --judge' after {until}",
    )
    return Outcome(
        summary=f"production, version {champion}, copies its requests to {name}, "
        f"version {deployment.version}; judge after {until}",
        checks=[check],
        metrics={"url": deployment.url, "champion_version": champion, "started": live.started},
        model=live.challenger,
    )


def _judge(context: Context[ShadowFlags], challenger: Placement) -> Outcome:
    """Judge the responses so far; the shadow continues until they are conclusive."""
    section, name = context.config.shadow, challenger.name
    live = live_shadow.read(context.home, name)
    if live is None:
        raise UsageError(
            f"no live shadow of {name} runs", hint=f"run 'ml-pipeline shadow {name} --start'"
        )
    production = Placement.of(context.project, PRODUCTION, context.home)
    judgement = judge_live(live, section, check_same_versions(live, production, challenger))
    if judgement.is_over:
        live_shadow.remove_state(context.home, name)
    return Outcome(
        summary=judgement.summary,
        checks=judgement.comparison.checks,
        metrics={"required": section.required, **judgement.to_json()},
        model=live.challenger,
    )
