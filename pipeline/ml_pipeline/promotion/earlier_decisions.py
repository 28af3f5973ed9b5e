"""Earlier rejections and rollbacks of a version that awaits a decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ml_pipeline.approval.rejections import describe_rejection, rejections
from ml_pipeline.core.home import Home
from ml_pipeline.promotion.agreement import Contenders
from ml_pipeline.promotion.production_history import read_history
from ml_pipeline.registry.registry import Registry

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey


def decisions(
    registry: Registry,
    home: Home,
    contenders: Contenders,
    keys: Callable[[], Sequence[SSlibKey]],
) -> list[str]:
    """Return rollbacks of the challenger, and rejections of it or of versions since the champion.

    Raises:
        EnvironmentFault: the registry does not answer, or the history is broken.
    """
    gone_back = [
        f"version {entry.former_version} was rolled back on {entry.at.date().isoformat()} by "
        f"{entry.by}: {entry.reason}"
        for entry in read_history(home)
        if entry.kind == "rollback" and entry.former_bundle == contenders.challenger.digest
    ]
    rejected = rejections(
        registry, contenders.state.versions, contenders.challenger, contenders.champion, keys
    )
    return [*gone_back, *map(describe_rejection, rejected)]
