"""Stage ``load-test``: send requests at a constant rate, and compare latency with the SLO."""

from __future__ import annotations

from typing import Any

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import artefacts
from ml_pipeline.core.report import Verdict
from ml_pipeline.data import parquet
from ml_pipeline.online import load_test, load_test_plot
from ml_pipeline.online.deployed_version import check_served_version, find_deployment, model_of
from ml_pipeline.serving.access import read_token
from ml_pipeline.serving.prediction_log import PROBE
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.record import NoFlags
from ml_pipeline.targets.base import Placement
from ml_pipeline.traffic import open_loop, prediction_requests

ROWS = 10_000
"""The largest number of different rows in the requests."""


def run(context: Context[NoFlags]) -> Outcome:
    """Send the requests that ``load_test`` of ``ml.yaml`` configures to the environment's server.

    Raises:
        EnvironmentFault: nothing is served there.
    """
    name = context.environment or ""
    section = context.config.load_test
    deployment = find_deployment(Placement.of(context.project, name, context.home))
    bundle = Bundle.open(deployment.bundle)
    token = read_token("127.0.0.1", context.config.serving.token_env)
    served = check_served_version(deployment, bundle, token)
    if served.verdict is not Verdict.PASS:
        model = model_of(deployment, bundle)
        return Outcome(summary=served.why, checks=[served], model=model)
    rows, source = _rows(context, bundle)
    seconds = section.warmup + section.seconds
    send_times = open_loop.constant_rate(section.rate, seconds)
    context.progress(f"{section.rate:g} requests/s for {seconds:g} s", 0.2)
    bodies = prediction_requests.request_bodies(rows, len(send_times), section.rows)
    (responses,) = prediction_requests.send_streams(
        [
            prediction_requests.RequestStream(
                deployment.url, token, bodies, send_times, [PROBE] * len(send_times)
            )
        ]
    )
    measured = load_test.measure(
        responses, warmup=section.warmup, version=deployment.version, task=bundle.task
    )
    limits = load_test.checks(measured, section)
    plot = load_test_plot.draw(
        context.workdir / f"pages/load-test-{name}.png",
        responses,
        warmup=section.warmup,
        limit_ms=section.p99_ms,
    )
    return Outcome(
        summary=load_test.summarize(measured, limits, section.rate),
        checks=[served, *limits],
        metrics={
            "url": deployment.url,
            "required": section.required,
            "rate": section.rate,
            "seconds": section.seconds,
            "rows": {"source": source, "different": len(rows), "a_request": section.rows},
            **measured.to_json(),
        },
        outputs=[plot],
        model=model_of(deployment, bundle),
    )


def _rows(context: Context[NoFlags], bundle: Bundle) -> tuple[list[list[Any]], str]:
    """Return the newest holdout rows if they belong to this model, else its golden rows."""
    if not context.trained(bundle.identity):
        return bundle.golden.inputs, "golden"

    from ml_pipeline.bundle.request_rows import json_rows

    holdout = parquet.read(context.take(artefacts.HOLDOUT)).tail(ROWS)
    return json_rows(holdout, bundle.schema.names), "holdout"
