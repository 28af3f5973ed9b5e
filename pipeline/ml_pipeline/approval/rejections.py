"""Signed rejections of versions since the champion was promoted."""

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

    A rejection of the challenger is included. Records that do not verify are left out.

    Args:
        registry: Holds the records.
        versions: All versions of the model.
        challenger: The newest version to look at.
        champion: The version before the first one to look at; None starts with the first version.
        keys: Returns the trusted keys; called only if there is a record to verify.

    Raises:
        EnvironmentFault: the registry is unavailable.
    """
    first = 0 if champion is None else champion.number
    rejected = []
    for version in versions:
        if not first < version.number <= challenger.number:
            continue
        if RECORD + APPROVAL_RECORD not in version.tags:
            continue
        try:
            content = registry.records.read(version, APPROVAL_RECORD)
            approval = None if content is None else read(content, keys())
        except Refused:
            continue
        if approval is not None and approval.decision == "reject":
            rejected.append(approval)
    return rejected


def describe_rejection(approval: Approval) -> str:
    return (
        f"version {approval.version} was rejected by {approval.by} "
        f"on {approval.at.date().isoformat()}: {approval.reason}"
    )
