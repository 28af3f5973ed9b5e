"""Answers of people who rejected a version since the champion was promoted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ml_pipeline.approval.statement import Approval, read
from ml_pipeline.core.errors import Refused
from ml_pipeline.registry.records import APPROVAL_RECORD, RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey


def rejections(
    registry: Registry,
    versions: Iterable[Version],
    challenger: Version,
    champion: Version | None,
    keys: Callable[[], Sequence[SSlibKey]],
) -> list[Approval]:
    """Return the signed rejections of versions after the champion, oldest first.

    The challenger's own is among them. An answer that does not verify is left out.

    ``versions`` are all of the model's. ``keys`` is called where there is an answer to verify.

    Raises:
        EnvironmentFault: the registry does not answer.
    """
    first = 0 if champion is None else champion.number
    answers = []
    for version in versions:
        if not first < version.number <= challenger.number:
            continue
        if RECORD + APPROVAL_RECORD not in version.tags:
            continue
        try:
            content = registry.records.read(version, APPROVAL_RECORD)
            answer = None if content is None else read(content, keys())
        except Refused:
            continue
        if answer is not None and answer.decision == "reject":
            answers.append(answer)
    return answers


def describe_rejection(answer: Approval) -> str:
    return (
        f"version {answer.version} was rejected by {answer.by} on {answer.at.date().isoformat()}: "
        f"{answer.reason}"
    )
