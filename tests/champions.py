"""A champion without a promotion: set in alias and history, with its server stopped."""

from __future__ import annotations

from datetime import UTC, datetime

from ml_pipeline.approval.statement import Approval
from ml_pipeline.core.home import Home
from ml_pipeline.promotion import production_history
from ml_pipeline.promotion.environment import mark_stopped
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CHAMPION, Version


def make_champion(registry: Registry, home: Home, version: Version) -> None:
    """Record a version in registry and history as in production and stopped."""
    registry.aliases.set(CHAMPION, version)
    approval = Approval(
        model=version.name,
        version=version.number,
        bundle=version.digest,
        decision="approve",
        by="Asha",
        reason="better",
        at=datetime(2026, 1, 2, tzinfo=UTC),
        method="prompt",
        gate="0" * 64,
        policy="0" * 64,
        champion=None,
        run_id="run-0",
    )
    entry = production_history.entry(
        "promotion", version, (None, None), "http://here", approval, "0" * 64, run_id="run-0"
    )
    production_history.history(home, entry).do()
    mark_stopped(home)
