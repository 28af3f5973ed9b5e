"""The champion's requests, sent to a challenger as the champion's clients would send them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import Project
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, Progress, Verdict
from ml_pipeline.features.request_contract import compare
from ml_pipeline.gate.checks.request_contract import schema_of
from ml_pipeline.online import recorded_requests
from ml_pipeline.registry.registry import Registry
from ml_pipeline.tasks.base import difference
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.traffic import probe

if TYPE_CHECKING:
    import httpx

    from ml_pipeline.features.schema import FeatureSchema
    from ml_pipeline.tasks.base import Task, Value

NAME = "the champion's requests"
MAX_ROWS = 500
"""Maximum number of rows sent."""
BATCH_ROWS = 50
"""Rows of one request; if it is refused, its rows are sent one by one."""
OK = 200
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class ChampionRequests:
    """Rows that the champion predicted: recorded ones, or its golden rows."""

    source: str
    version: int
    schema: FeatureSchema
    """The champion's."""
    rows: Sequence[Sequence[Any]]
    """In the order of its features."""


def replay(
    url: str,
    sent: ChampionRequests,
    challenger: FeatureSchema,
    token: str | None,
    task: Task = BINARY,
) -> Check:
    """Check that each row is predicted by name and by position, with equal results.

    The check is required if the challenger's contract is compatible. If it is breaking, the gate
    decides, and the check shows how many requests are affected.

    Args:
        url: of the challenger's server.
        sent: requests of the champion's clients.
        challenger: its features.
        token: of the server; None if it requires none.
        task: of the challenger.

    Raises:
        httpx.HTTPError: the server does not respond.
    """
    change = compare(sent.schema, challenger)
    rows = [list(row) for row in sent.rows[:MAX_ROWS]]
    names = sent.schema.names
    with probe.client(url, token) as api:
        named = [dict(zip(names, row, strict=True)) for row in rows]
        by_name = list(_predict_rows(api, named, "rows", task))
        by_position = list(_predict_rows(api, rows, "features", task))
    refused = [
        first if isinstance(first, str) else second
        for first, second in zip(by_name, by_position, strict=True)
        if isinstance(first, str) or isinstance(second, str)
    ]
    different = [
        number
        for number, (first, second) in enumerate(zip(by_name, by_position, strict=True))
        if not isinstance(first, str)
        and not isinstance(second, str)
        and not difference(first, second) <= task.tolerance
    ]
    rows_sent = f"{len(rows)} {sent.source} rows of version {sent.version}"
    breaks = change.change == "breaking"
    why = ""
    if refused:
        why = f"{len(refused)} of {rows_sent} are refused, the first one with {refused[0]}"
    elif different:
        why = (
            f"{len(different)} of {rows_sent} are answered differently by position than by name, "
            f"first row {different[0]}"
        )
    if why and breaks:
        why += f"; the contract is {change}: the gate decides"
    return Check(
        name=NAME,
        verdict=Verdict.FAIL if why or not rows else Verdict.PASS,
        required=not breaks,
        observed=why or f"{rows_sent} are answered, by name and by position",
        expected="an answer to each, by name and by position",
        why=why or ("" if rows else "the champion has no rows"),
    )


def _predict_rows(
    api: httpx.Client, rows: Sequence[Any], key: str, task: Task
) -> Iterator[Value | str]:
    """Yield the prediction for each row, or the error message."""
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows[start : start + BATCH_ROWS]
        predictions = _predict_batch(api, {key: batch}, len(batch), task)
        if not isinstance(predictions, str):
            yield from predictions
            continue
        for row in batch:
            alone = _predict_batch(api, {key: [row]}, 1, task)
            if isinstance(alone, str):
                yield alone
            else:
                yield from alone


def _predict_batch(
    api: httpx.Client, body: Mapping[str, Any], count: int, task: Task
) -> list[Value] | str:
    content = json.dumps(body)  # ASCII: a client's text may contain lone surrogates
    response = api.post("/predict", content=content, headers=JSON)
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        answer = None
    if response.status_code != OK:
        message = answer.get("error") if isinstance(answer, dict) else None
        return f"{response.status_code}: {str(message or 'no message')[:200]}"
    answers = answer if isinstance(answer, list) else []
    try:
        predictions = [task.read(item) for item in answers if isinstance(item, dict)]
    except ValueError:
        predictions = []
    if len(predictions) != count:
        return f"{response.status_code}: no {task.prediction_noun} for each row"
    return predictions


def check_champion_requests(
    url: str,
    challenger: Bundle,
    token: str | None,
    *,
    project: Project,
    home: Home,
    environment: str,
    progress: Progress,
) -> list[Check]:
    """Check that the challenger answers the champion's requests; empty if it is the champion.

    Args:
        url: of the challenger's server.
        challenger: the bundle that it serves.
        token: of the server; None if it requires none.
        project: names the registry.
        home: holds registry and prediction log, where they are local.
        environment: the champion's; its prediction log has the requests.
        progress: of the stage.

    Raises:
        Refused: the champion's bundle is damaged.
        EnvironmentFault: the registry is unavailable.
    """
    import httpx

    registry = Registry.of(project, home, progress)
    if not registry.exists():
        return []
    progress("reading the champion from the registry", 0.4)
    champion = registry.read().champion
    if champion is None or champion.digest == challenger.digest:
        return []
    progress("sending the champion's requests", 0.5)
    schema = schema_of(registry.bundles.manifest(champion), "champion")
    rows = _recorded_rows(project, home, environment, champion.number, schema, progress)
    if rows:
        sent = ChampionRequests("recorded", champion.number, schema, rows)
    else:
        with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
            bundle = Bundle.open(registry.bundles.download(champion, Path(scratch) / "champion"))
            sent = ChampionRequests("golden", champion.number, schema, bundle.golden.inputs)
    try:
        return [replay(url, sent, challenger.schema, token, challenger.task)]
    except httpx.HTTPError as error:
        return [
            Check(
                name=NAME,
                verdict=Verdict.ERROR,
                observed=f"{type(error).__name__}: {error}",
                expected="an answer to each",
                why=f"{NAME}: the connection failed",
            )
        ]


def _recorded_rows(
    project: Project,
    home: Home,
    environment: str,
    version: int,
    schema: FeatureSchema,
    progress: Progress,
) -> list[Sequence[Any]]:
    """Return the newest recorded rows; none if the prediction log is unavailable."""
    try:
        folder = recorded_requests.prediction_log_folder(project, home, environment)
    except EnvironmentFault as fault:
        progress(f"golden rows, since the prediction log is unavailable: {fault.fault}", 0.5)
        return []
    if redacted := recorded_requests.redacted_features(folder, version):
        names = ", ".join(redacted)
        progress(f"the prediction log lacks values of {names} (serving.redact)", 0.5)
    newest = recorded_requests.newest(
        folder, version=version, features=schema.names, count=MAX_ROWS
    )
    return [row.features for row in newest]
