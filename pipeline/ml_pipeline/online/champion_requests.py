"""The champion's requests, sent to a challenger as the champion's clients would send them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.bundle.reader import TOLERANCE
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.features.request_contract import compare
from ml_pipeline.traffic import probe

if TYPE_CHECKING:
    import httpx

    from ml_pipeline.features.schema import FeatureSchema

NAME = "the champion's requests"
MOST = 500
"""Rows that are sent."""
TOGETHER = 50
"""Rows of a request; those of one that is refused are sent one by one."""
OK = 200
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class ChampionRequests:
    """Rows that the champion answered: recorded ones, or its golden rows."""

    source: str
    version: int
    schema: FeatureSchema
    """The champion's."""
    rows: Sequence[Sequence[Any]]
    """In the order of its features."""


def replay(
    url: str, asked: ChampionRequests, challenger: FeatureSchema, token: str | None
) -> Check:
    """Send the rows by name and by position, and see that each is answered, both ways alike.

    The check is required where the challenger's contract promises it. Where it is breaking, the
    gate decides; the check then shows how many requests it concerns.

    Args:
        url: of the server of the challenger.
        asked: what the champion was asked.
        challenger: its features.
        token: of the server; None where it asks for none.

    Raises:
        httpx.HTTPError: the server does not answer.
    """
    change = compare(asked.schema, challenger)
    rows = [list(row) for row in asked.rows[:MOST]]
    names = asked.schema.names
    with probe.client(url, token) as api:
        by_name = list(_answers(api, [dict(zip(names, row, strict=True)) for row in rows], "rows"))
        by_position = list(_answers(api, rows, "features"))
    refused = [
        first if isinstance(first, str) else second
        for first, second in zip(by_name, by_position, strict=True)
        if isinstance(first, str) or isinstance(second, str)
    ]
    unlike = [
        number
        for number, (first, second) in enumerate(zip(by_name, by_position, strict=True))
        if isinstance(first, float)
        and isinstance(second, float)
        and not abs(first - second) <= TOLERANCE
    ]
    told = f"{len(rows)} {asked.source} rows of version {asked.version}"
    breaks = change.change == "breaking"
    why = ""
    if refused:
        why = f"{len(refused)} of {told} are refused, the first one with {refused[0]}"
    elif unlike:
        why = (
            f"{len(unlike)} of {told} are answered otherwise by position than by name, first row "
            f"{unlike[0]}"
        )
    if why and breaks:
        why += f"; the contract is {change}: the gate decides"
    return Check(
        name=NAME,
        verdict=Verdict.FAIL if why or not rows else Verdict.PASS,
        required=not breaks,
        observed=why or f"{told} are answered, by name and by position",
        expected="an answer to each, by name and by position",
        why=why or ("" if rows else "the champion has no rows"),
    )


def _answers(api: httpx.Client, rows: Sequence[Any], key: str) -> Iterator[float | str]:
    """Yield the probability of each row, or how it is refused."""
    for start in range(0, len(rows), TOGETHER):
        batch = rows[start : start + TOGETHER]
        found = _probabilities(api, {key: batch}, len(batch))
        if not isinstance(found, str):
            yield from found
            continue
        for row in batch:
            alone = _probabilities(api, {key: [row]}, 1)
            if isinstance(alone, str):
                yield alone
            else:
                yield from alone


def _probabilities(api: httpx.Client, body: Mapping[str, Any], count: int) -> list[float] | str:
    asked = json.dumps(body)  # ASCII: what a client sent may hold halves of characters
    response = api.post("/predict", content=asked, headers=JSON)
    try:
        told = response.json()
    except (ValueError, RecursionError):
        told = None
    if response.status_code != OK:
        message = told.get("error") if isinstance(told, dict) else None
        return f"{response.status_code}: {str(message or 'no message')[:200]}"
    answers = told if isinstance(told, list) else []
    found = [item.get("probability") for item in answers if isinstance(item, dict)]
    probabilities = [one for one in found if type(one) is float and 0 <= one <= 1]
    if len(probabilities) != count:
        return f"{response.status_code}: no probability for each row"
    return probabilities
