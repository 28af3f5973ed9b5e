"""Sends the same requests to challenger and champion, and compares the predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import ServingSection, ShadowSection
from ml_pipeline.core.report import blocking
from ml_pipeline.online import shadow
from ml_pipeline.online.replay_requests import ReplayRequests
from ml_pipeline.online.shadow import Comparison, Exchange
from ml_pipeline.targets import server_arguments
from ml_pipeline.targets.base import Deployment
from ml_pipeline.targets.process import server_process
from ml_pipeline.traffic import open_loop, prediction_requests
from ml_pipeline.traffic.prediction_requests import PredictionResponse, RequestStream

WARM_UP = 20
"""Number of first requests that are sent twice, since connections and caches are cold."""


@contextmanager
def serve_champion(
    bundle: Bundle, number: int, serving: ServingSection, log: Path
) -> Iterator[str]:
    """Serve the champion's bundle on this machine, so that production gets no test requests.

    Yields:
        Its address.
    """
    import psutil

    started = server_process.start(
        bundle,
        number,
        host="127.0.0.1",
        token_env=serving.token_env,
        settings=server_arguments.limit_arguments(serving),
        log=log,
    )
    try:
        yield started.url
    finally:
        with suppress(psutil.NoSuchProcess):
            server_process.end(psutil.Process(started.pid))


def compare_with_champion(
    deployment: Deployment,
    sent: ReplayRequests,
    champion: tuple[str, int | None],
    token: str | None,
    section: ShadowSection,
) -> Comparison:
    """Send the requests to both at the section's rate, each half an interval after the other.

    Args:
        deployment: the challenger.
        sent: the requests.
        champion: its address and version.
        token: the bearer token of both.
        section: rate, time-out and limits.
    """
    streams = [
        _stream(
            champion[0], token, sent.champion, sent.ids, section.rate, 0.0, sent.champion_contract
        ),
        _stream(
            deployment.url,
            token,
            sent.challenger,
            sent.ids,
            section.rate,
            0.5 / section.rate,
            sent.contract,
        ),
    ]
    answers, others = prediction_requests.send_streams(streams, section.timeout_ms / 1000)
    exchanges = [
        Exchange(
            id=sent.ids[index],
            champion=prediction_requests.parse_response(first, champion[1], sent.task),
            challenger=prediction_requests.parse_response(second, deployment.version, sent.task),
            group=sent.groups[index] if sent.groups else "",
        )
        for index, (first, second) in enumerate(_without_warm_up(answers, others))
    ]
    return shadow.compare(exchanges, section, task=sent.task)


def compare_with_trained(
    deployment: Deployment, sent: ReplayRequests, token: str | None, section: ShadowSection
) -> Comparison:
    """Send the requests to the challenger, and compare with the trained model's predictions."""
    stream = _stream(
        deployment.url, token, sent.challenger, sent.ids, section.rate, 0.0, sent.contract
    )
    (answers,) = prediction_requests.send_streams([stream], section.timeout_ms / 1000)
    exchanges = [
        Exchange(
            id=sent.ids[index],
            champion=PredictionResponse((sent.trained[index],)),
            challenger=prediction_requests.parse_response(answer, deployment.version, sent.task),
        )
        for index, (answer,) in enumerate(_without_warm_up(answers))
    ]
    return shadow.against_trained(exchanges, section, sent.task)


def summarize(comparison: Comparison, sent: str, beside: str) -> str:
    """Return a summary: the first broken limit, if any, and the figures.

    Args:
        comparison: of the answers.
        sent: how many requests of which source.
        beside: what the challenger was compared with.
    """
    broken = blocking(comparison.checks)
    metrics = comparison.metrics
    figures = f"{sent} beside {beside}: p99 {metrics['p99_ms']['challenger']:.1f} ms"
    if "largest_difference" in metrics:
        figures += f", answers within {metrics['largest_difference']:.1e}"
    elif metrics["compared"]:
        figures += f", distance {metrics['distance']:.3f}"
        if metrics["changed"] is not None:
            figures += f", {metrics['changed']:.1%} of decisions change"
    if broken:
        first = broken[0]
        fault = f"{first.name}: {first.shown}, expected {first.expected}"
        return f"{fault}{f' ({first.why})' if first.why else ''}; {figures}"
    return figures


def _stream(
    url: str,
    token: str | None,
    rows: Sequence[Sequence[Any]],
    ids: Sequence[str],
    rate: float,
    offset: float,
    contract: str | None,
) -> RequestStream:
    warm_up = min(WARM_UP, len(rows))
    bodies = prediction_requests.request_bodies(rows, len(rows), contract=contract)
    due = [index / rate + offset for index in range(warm_up + len(rows))]
    return RequestStream(url, token, bodies[:warm_up] + bodies, due, [*ids[:warm_up], *ids])


def _without_warm_up(
    *streams: Sequence[open_loop.TimedResponse],
) -> Iterator[tuple[open_loop.TimedResponse, ...]]:
    """Yield the responses of all streams by request, without those of the warm-up."""
    warm_up = min(WARM_UP, len(streams[0]) // 2)
    return zip(*(stream[warm_up:] for stream in streams), strict=True)
