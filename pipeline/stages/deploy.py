"""Starts a registered version in an environment; what serves there stays if it fails."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipeline.approval import policy as policies
from pipeline.approval.keys import trusted_keys
from pipeline.deploy.base import Handover
from pipeline.deploy.targets import load_target
from pipeline.errors import Refused, UsageError
from pipeline.promotion.promote import PRODUCTION, approval_of
from pipeline.registry.mlflow_registry import Registry, Version
from pipeline.report import Check, Verdict
from pipeline.stages.context import Context, Outcome


def run(context: Context) -> Outcome:
    """Deploy ``--version``, or the challenger. Production takes the approved champion only.

    Raises:
        UsageError: no version is registered, or not this one.
        Refused: the bundle does not verify, the new server is not healthy, or production is to
            serve what was not promoted.
        EnvironmentFault: registry, disk or port are not to be had.
    """
    name = context.environment or ""
    environment = context.config.environments[name]
    target = load_target(environment.target)
    registry = Registry.of(context.project, context.home, context.progress)
    number = context.flags.get("version")
    version = (
        _promoted(context, registry, number) if name == PRODUCTION else _version(registry, number)
    )
    context.progress(f"fetching version {version.number}", 0.2)
    with tempfile.TemporaryDirectory(dir=context.home.root, prefix=".fetched-") as scratch:
        bundle = registry.download(version, Path(scratch) / "bundle")
        context.progress(f"starting version {version.number}", 0.6)
        with target.handover(
            bundle,
            version.number,
            environment=environment,
            name=name,
            home=context.home,
            serving=context.project.serving,
        ) as handover:
            outcome = _outcome(name, version, handover)
            handover.commit()
    return outcome


def _version(registry: Registry, number: int | None) -> Version:
    if number is not None:
        return registry.version(number)
    challenger = registry.challenger()
    if challenger is None:
        raise UsageError(
            f"no version of '{registry.name}' is registered", hint="run 'ml-pipeline register'"
        )
    return challenger


def _promoted(context: Context, registry: Registry, number: int | None) -> Version:
    champion = registry.champion()
    if champion is None or number not in (None, champion.number):
        raise Refused(
            f"{PRODUCTION} serves what was promoted, and nothing else",
            expected="a champion" if champion is None else f"version {champion.number}",
            hint="run 'ml-pipeline promote'",
        )
    policy = policies.load(context.policy, context.config.policy)
    approval_of(registry, trusted_keys(context.home, policy), champion)
    return champion


def _outcome(name: str, version: Version, handover: Handover) -> Outcome:
    deployment, former = handover.deployment, handover.former
    served = f"{name} serves version {version.number} at {deployment.url}"
    if not handover.changed:
        summary = f"{served} already; nothing to change"
    elif former is None:
        summary = served
    else:
        summary = f"{served}; version {former.version} has ended"
    checks = [
        Check(
            name="bundle verifies",
            verdict=Verdict.PASS if deployment.digest == version.digest else Verdict.FAIL,
            observed=deployment.digest,
            expected=f"{version.digest}, as registered",
        ),
        Check(
            name="ready",
            verdict=Verdict.PASS,
            observed=deployment.url,
            expected="/health/ready is 200 before the switch and after it",
        ),
        Check(
            name="golden predictions",
            verdict=Verdict.PASS,
            observed=f"version {deployment.version}",
            expected="the trained model's, over HTTP",
        ),
    ]
    return Outcome(
        summary=summary,
        checks=checks,
        metrics={"url": deployment.url, "pid": deployment.pid, "changed": handover.changed},
        model=version.ref,
    )
