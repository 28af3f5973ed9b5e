"""Compares an environment's answers with the champion's: replayed requests, or production's own."""

from __future__ import annotations

from typing import Any

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.gate.compare_models import different_outputs
from ml_pipeline.online import live_shadow, recorded_requests, shadow_replay
from ml_pipeline.online.deployed_version import check_served_version, find_deployment, model_of
from ml_pipeline.online.live_shadow_judgement import check_same_versions, judge_live
from ml_pipeline.online.replay_requests import (
    ReplayRequests,
    contract_needed,
    fits_challenger,
    holdout_replay,
    recorded_replay,
)
from ml_pipeline.promotion.environment import PRODUCTION
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version
from ml_pipeline.serving.access import token_of
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import ShadowFlags
from ml_pipeline.targets.base import Copying, Deployment, Placement


def run(context: Context[ShadowFlags]) -> Outcome:
    """Replay requests to both, or start or judge a live shadow.

    Raises:
        UsageError: both flags, no live shadow to judge, no requests to replay, or a target whose
            servers cannot copy requests.
        Refused: the challenger needs features that production's requests lack.
        EnvironmentFault: nothing is served, or the registry does not answer.
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
    token = token_of("127.0.0.1", context.config.serving.token_env)
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
        sent = _holdout(context, bundle, None)
        context.progress(f"{len(sent.ids)} requests", 0.3)
        found = shadow_replay.compare_with_trained(deployment, sent, token, section)
        beside = "the trained model (no champion)"
    else:
        with workdir.scratch(context.home.root, ".shadow-") as folder:
            context.progress("starting the champion", 0.1)
            champion = Bundle.open(registry.bundles.download(version, folder / "bundle"))
            log = folder / "champion.log"
            with shadow_replay.serve_champion(champion, version.number, serving, log) as url:
                sent = _requests(context, bundle, champion, version)
                context.progress(f"{len(sent.ids)} requests to both", 0.3)
                found = shadow_replay.compare_with_champion(
                    deployment, sent, (url, version.number), token, section
                )
        beside = f"the champion, version {version.number}"
    return Outcome(
        summary=shadow_replay.summarize(found, f"{len(sent.ids)} {sent.source} requests", beside),
        checks=[served, *found.checks],
        metrics={
            "url": deployment.url,
            "required": section.required,
            "source": sent.source,
            "champion_version": None if version is None else version.number,
            **found.metrics,
        },
        model=model_of(deployment, bundle),
    )


def _requests(
    context: Context[ShadowFlags], bundle: Bundle, champion: Bundle, version: Version
) -> ReplayRequests:
    section = context.config.shadow
    if section.source != "holdout":
        rows = recorded_requests.newest(
            recorded_requests.log_of(context.project, context.home, PRODUCTION),
            version=version.number,
            features=champion.schema.names,
            count=section.requests,
        )
        enough = len(rows) >= section.min_requests and fits_challenger(bundle, champion)
        if section.source == "recorded" or enough:
            return recorded_replay(rows, bundle, champion)
    return _holdout(context, bundle, champion)


def _holdout(
    context: Context[ShadowFlags], bundle: Bundle, champion: Bundle | None
) -> ReplayRequests:
    if not context.trained(bundle.identity):
        raise UsageError(
            "the working folder does not hold the holdout of the deployed model",
            expected="the files of the run that trained it",
            hint="run 'ml-pipeline run cd', or set shadow.source to recorded",
        )
    return holdout_replay(context.take, context.project, bundle, champion)


def _start(
    context: Context[ShadowFlags], challenger: Placement, deployment: Deployment, bundle: Bundle
) -> Outcome:
    section, environments = context.config.shadow, context.config.environments
    if PRODUCTION not in environments:
        raise UsageError(f"ml.yaml has no environment '{PRODUCTION}' to copy requests from")
    live_shadow.copying_target(environments[PRODUCTION].target, PRODUCTION)
    production = Placement.of(context.project, PRODUCTION, context.home)
    champion = find_deployment(production)
    served = Bundle.open(champion.bundle)
    if why := different_outputs(bundle.task, served.task):
        raise UsageError(why, expected="a challenger of the champion's task")
    copying = Copying(
        champion=champion,
        challenger=challenger,
        served=deployment,
        positions=live_shadow.positions(served.schema, bundle.schema),
        contract=contract_needed(bundle),
        share=section.share,
        timeout=section.timeout_ms / 1000,
        task=bundle.task.to_json(),
    )
    model, name = model_of(deployment, bundle), challenger.name
    live = live_shadow.start(production, copying, model)
    until = f"at least {section.min_minutes:g} minutes and {section.min_requests} requests"
    metrics = {"champion_version": champion.version, "started": live.started}
    return Outcome(
        summary=f"production, version {champion.version}, copies its requests to {name}, "
        f"version {deployment.version}; judge after {until}",
        checks=[
            Check(
                name="live shadow",
                verdict=Verdict.SKIPPED,
                observed=f"production copies {section.share:.0%} of its requests to {name}",
                expected=until,
                why=f"nothing is judged yet: run 'ml-pipeline shadow {name} --judge' after {until}",
            )
        ],
        metrics={"url": deployment.url, **metrics},
        model=model,
    )


def _judge(context: Context[ShadowFlags], challenger: Placement) -> Outcome:
    """Judge what was answered so far; as long as that is not conclusive, the shadow goes on."""
    section, name = context.config.shadow, challenger.name
    live = live_shadow.read(context.home, name)
    if live is None:
        raise UsageError(
            f"no live shadow of {name} runs", hint=f"run 'ml-pipeline shadow {name} --start'"
        )
    minutes = live.minutes
    production = Placement.of(context.project, PRODUCTION, context.home)
    judged = judge_live(live, section, check_same_versions(live, production, challenger))
    if judged.is_over:
        live_shadow.forget(context.home, name)
    compared = judged.comparison
    summary = shadow_replay.summarize(
        compared,
        f"{compared.metrics['requests']} live requests in {minutes:.1f} min",
        f"the champion, version {live.champion_version}",
    )
    metrics: dict[str, Any] = {
        "required": section.required,
        "source": "live",
        "champion_version": live.champion_version,
        "minutes": minutes,
        "offered": judged.offered,
        **compared.metrics,
    }
    return Outcome(
        summary=summary if judged.is_over else f"{summary}; it goes on",
        checks=compared.checks,
        metrics=metrics,
        model=live.challenger,
    )
