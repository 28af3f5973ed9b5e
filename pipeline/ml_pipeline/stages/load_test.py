"""Sends requests at a constant rate to what an environment serves, and holds it to its SLO."""

from __future__ import annotations

from typing import Any

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.errors import EnvironmentFault, Refused
from ml_pipeline.core.report import Check, ModelRef, Verdict
from ml_pipeline.data import parquet
from ml_pipeline.online import load_test, load_test_plot
from ml_pipeline.serving.access import token_of
from ml_pipeline.serving.prediction_log import PROBE
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.record import NoFlags
from ml_pipeline.targets.base import Deployment, Placement
from ml_pipeline.targets.loader import load_target
from ml_pipeline.traffic import open_loop, probe, requests

HOLDOUT = "data/holdout.parquet"
ROWS = 10_000
"""Different rows that are asked at most."""


def run(context: Context[NoFlags]) -> Outcome:
    """Load the environment's server as ``load_test`` of ``ml.yaml`` says.

    Raises:
        EnvironmentFault: nothing is served there.
    """
    name = context.environment or ""
    section = context.config.load_test
    deployment = served(context, name)
    bundle = Bundle.open(deployment.bundle)
    token = token_of("127.0.0.1", context.config.serving.token_env)
    proved = serves_the_version(deployment, bundle, token)
    if proved.verdict is not Verdict.PASS:
        return Outcome(summary=proved.why, checks=[proved], model=ref(deployment, bundle))
    rows, source = _rows(context, bundle)
    seconds = section.warmup + section.seconds
    due = open_loop.evenly(section.rate, seconds)
    context.progress(f"{section.rate:g} requests/s for {seconds:g} s", 0.2)
    bodies = requests.bodies(rows, len(due), section.rows)
    (answers,) = requests.play(
        [requests.Stream(deployment.url, token, bodies, due, [PROBE] * len(due))]
    )
    found = load_test.measure(answers, warmup=section.warmup, version=deployment.version)
    limits = load_test.checks(found, section)
    plot = load_test_plot.draw(
        context.workdir / f"pages/load-test-{name}.png",
        answers,
        warmup=section.warmup,
        limit_ms=section.p99_ms,
    )
    return Outcome(
        summary=_summary(found, limits, section.rate),
        checks=[proved, *limits],
        metrics={
            "url": deployment.url,
            "required": section.required,
            "rate": section.rate,
            "seconds": section.seconds,
            "rows": {"source": source, "different": len(rows), "a_request": section.rows},
            **found.to_json(),
        },
        outputs=[plot],
        model=ref(deployment, bundle),
    )


def served(context: Context[Any], name: str) -> Deployment:
    """Return what an environment serves.

    Raises:
        EnvironmentFault: nothing.
    """
    placement = Placement.of(context.project, name, context.home)
    deployment = load_target(placement.section.target).status(placement)
    if deployment is None:
        raise EnvironmentFault(f"{name} serves nothing", hint=f"run 'ml-pipeline deploy {name}'")
    return deployment


def serves_the_version(deployment: Deployment, bundle: Bundle, token: str | None) -> Check:
    """Return whether the address is ready and serves this very bundle, by its golden predictions.

    Required whatever the limits are: without it nothing that is measured tells of this model.
    """
    try:
        probe.probe(deployment.url, bundle, deployment.version, token)
    except Refused as refused:
        verdict, why = Verdict.FAIL, str(refused)
    else:
        verdict, why = Verdict.PASS, ""
    return Check(
        name="serves the deployed version",
        verdict=verdict,
        observed=deployment.url,
        expected=f"version {deployment.version}, bundle {bundle.digest[:12]}",
        why=why,
    )


def ref(deployment: Deployment, bundle: Bundle) -> ModelRef:
    return ModelRef(
        name=bundle.project,
        version=deployment.version,
        identity=bundle.identity,
        digest=deployment.digest,
    )


def made_for(context: Context[Any], bundle: Bundle) -> bool:
    """Return whether the working folder holds the training run that this bundle came of."""
    if not (context.workdir / "reports/train.json").is_file():
        return False
    about = context.report_of("train").model
    return about is not None and about.identity == bundle.identity


def _rows(context: Context[NoFlags], bundle: Bundle) -> tuple[list[list[Any]], str]:
    """Return the holdout's newest rows where they are this model's, else the golden ones."""
    if not made_for(context, bundle):
        return bundle.golden.inputs, "golden"

    from ml_pipeline.bundle.request_rows import json_rows

    holdout = parquet.read(context.take(HOLDOUT)).tail(ROWS)
    return json_rows(holdout, bundle.schema.names), "holdout"


def _summary(found: load_test.Load, limits: list[Check], rate: float) -> str:
    told = (
        f"{rate:g} requests/s for {found.requests / rate:.0f} s: "
        f"p50 {found.p50:.1f}, p95 {found.p95:.1f}, p99 {found.p99:.1f}, max {found.max:.1f} ms, "
        f"{found.errors} errors"
    )
    open_ = [check for check in limits if check.verdict is not Verdict.PASS]
    worst = next((check for check in open_ if check.verdict is Verdict.FAIL), None)
    if worst is not None:
        return f"{worst.name}: {worst.shown}, expected {worst.expected}; {told}"
    return f"inconclusive: {open_[0].why}; {told}" if open_ else told
