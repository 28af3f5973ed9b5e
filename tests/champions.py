"""A champion without a promotion: alias and history say so, and its server was stopped."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.approval.statement import Approval
from pipeline.home import Home
from pipeline.promotion import records
from pipeline.promotion.production import mark_stopped
from pipeline.registry.mlflow_registry import CHAMPION, Registry, Version


def make_champion(registry: Registry, home: Home, version: Version) -> None:
    """Let registry and history say that a version is in production, which was stopped since."""
    registry.set_alias(CHAMPION, version)
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
    entry = records.entry(
        "promotion", version, (None, None), "http://here", approval, "0" * 64, run_id="run-0"
    )
    records.history(home, entry).do()
    mark_stopped(home)
