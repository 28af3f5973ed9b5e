"""The approval of a version that was promoted: from the registry, or as the home keeps it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_pipeline.approval.keys import APPROVALS
from ml_pipeline.approval.statement import Approval, read
from ml_pipeline.bundle.reader import SHA256
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.home import Home
from ml_pipeline.registry.records import APPROVAL_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version

if TYPE_CHECKING:
    from pathlib import Path

    from securesystemslib.signer import SSlibKey


def check_approved(approval: Approval) -> None:
    """Raise Refused for a rejection."""
    if approval.decision != "approve":
        raise Refused(
            f"version {approval.version} was rejected by {approval.by}: {approval.reason}",
            expected="an approval",
        )


def approval_of(
    registry: Registry, keys: Sequence[SSlibKey], champion: Version
) -> tuple[Approval, str]:
    """Return the approval by which a version became champion, and its SHA-256.

    Raises:
        Refused: there is none, no trusted key signed it, or it approves something else.
        EnvironmentFault: the registry does not answer.
    """
    content = _content_of(registry, champion)
    return _verified(content, keys, champion.name, champion.digest, "the champion's approval")


def fetch_and_keep(
    registry: Registry, keys: Sequence[SSlibKey], home: Home, version: Version
) -> tuple[Approval, str]:
    """Return what :func:`approval_of` does, and keep the approval in the home.

    Raises:
        Refused: as :func:`approval_of`.
        EnvironmentFault: the registry does not answer.
    """
    content = _content_of(registry, version)
    found = _verified(content, keys, version.name, version.digest, "the champion's approval")
    keep_approval(home, version.digest, content)
    return found


def keep_approval(home: Home, digest: str, content: bytes) -> Path:
    """Keep the approval of a bundle in the home, for use without the registry."""
    return workdir.write_bytes(_path(home, digest), content)


def content(home: Home, digest: str) -> bytes:
    """Return the approval of a bundle as the home keeps it, not verified."""
    return _path(home, digest).read_bytes()


def kept_approval(
    home: Home, keys: Sequence[SSlibKey], model: str, digest: str
) -> tuple[Approval, str] | None:
    """Return the approval that the home keeps for a bundle, and its SHA-256; None without one.

    Raises:
        Refused: no trusted key signed it, or it approves something else.
    """
    try:
        content = _path(home, digest).read_bytes()
    except FileNotFoundError:
        return None
    return _verified(content, keys, model, digest, "the approval that the home keeps")


def _content_of(registry: Registry, champion: Version) -> bytes:
    content = registry.records.read(champion, APPROVAL_RECORD)
    if content is None:
        raise Refused(f"the champion, version {champion.number}, has no approval record")
    return content


def _path(home: Home, digest: str) -> Path:
    if not SHA256.fullmatch(digest):
        raise Refused(f"{digest[:20]!r} is no digest of a bundle", expected="64 digits of SHA-256")
    return home / APPROVALS / f"{digest}.dsse.json"


def _verified(
    content: bytes, keys: Sequence[SSlibKey], model: str, digest: str, what: str
) -> tuple[Approval, str]:
    approval = read(content, keys)
    if (approval.model, approval.bundle) != (model, digest):
        raise Refused(
            f"{what} is for bundle {approval.bundle[:12]} of {approval.model}",
            expected=f"{digest[:12]} of {model}",
        )
    check_approved(approval)
    return approval, hashlib.sha256(content).hexdigest()
