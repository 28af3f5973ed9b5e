"""Stage ``deploy``: start a registered version in an environment, or leave the present one."""

from __future__ import annotations

from dataclasses import replace

from ml_pipeline.core import workdir
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.promotion.cleanup import clean
from ml_pipeline.promotion.version_choice import choose
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import DeployFlags
from ml_pipeline.targets.base import Handover, Placement, check_digest
from ml_pipeline.targets.loader import load_target


def run(context: Context[DeployFlags]) -> Outcome:
    """Deploy ``--version``, or the challenger. Production takes the approved champion only.

    Raises:
        UsageError: no version is registered, or not this one.
        Refused: the bundle does not verify, the new server is not healthy, or the version for
            production was not promoted.
        EnvironmentFault: registry, disk or port are unavailable.
    """
    name = context.environment or ""
    placement = Placement.of(context.project, name, context.home)
    target = load_target(placement.section.target)
    registry = Registry.of(context.project, context.home, context.progress)
    version = choose(
        registry,
        context.project,
        context.home,
        context.policy,
        environment=name,
        number=context.flags.version,
    )
    context.progress(f"fetching version {version.number}", 0.2)
    with workdir.scratch(context.home.root, ".fetched-") as scratch:
        bundle = registry.bundles.download(version, scratch / "bundle")
        context.progress(f"starting version {version.number}", 0.6)
        with target.handover(placement, bundle, version.number) as handover:
            check_digest(name, handover.deployment, version.digest)
            outcome = _outcome(name, version, handover)
            handover.commit()
    cleaned = clean(context.project, context.home, name, handover.deployment)
    return replace(outcome, checks=[*outcome.checks, *cleaned])


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
            verdict=Verdict.PASS,
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
