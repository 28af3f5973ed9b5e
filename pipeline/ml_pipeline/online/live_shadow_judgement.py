"""Judges a live shadow: requests copied, versions compared, and differences in predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ml_pipeline.config import ShadowSection
from ml_pipeline.core import report
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.online import live_shadow, shadow, shadow_replay
from ml_pipeline.online.live_shadow import LiveShadow
from ml_pipeline.online.shadow import Comparison
from ml_pipeline.targets.base import CopyCounts, Placement
from ml_pipeline.targets.loader import load_target
from ml_pipeline.tasks.loader import read_task


@dataclass(frozen=True)
class Judgement:
    """The comparison of a live shadow, with the check that both versions are unchanged."""

    live: LiveShadow
    minutes: float
    """Run time of the shadow at the judgement."""
    comparison: Comparison
    offered: int | None
    """Requests that production's server offered; None if it no longer copies."""
    is_over: bool
    """Whether the shadow has ended; it continues while it is inconclusive."""

    @property
    def summary(self) -> str:
        summary = shadow_replay.summarize(
            self.comparison,
            f"{self.comparison.metrics['requests']} live requests in {self.minutes:.1f} min",
            f"the champion, version {self.live.champion_version}",
        )
        return summary if self.is_over else f"{summary}; the shadow continues"

    def to_json(self) -> dict[str, Any]:
        """Return the metrics of the stage's report."""
        return {
            "source": "live",
            "champion_version": self.live.champion_version,
            "minutes": self.minutes,
            "offered": self.offered,
            **self.comparison.metrics,
        }


def judge_live(live: LiveShadow, section: ShadowSection, same_versions: Check) -> Judgement:
    """Compare the responses so far, and end the shadow if they are conclusive."""
    minutes = live.minutes
    counts = live_shadow.copy_counts(live)
    comparison = _compare(live, section, counts)
    verdict = report.judge([same_versions, *comparison.checks])
    is_over = counts is None or verdict is not Verdict.INCONCLUSIVE
    if is_over:
        counts = live_shadow.end(live) or counts
        comparison = _compare(live, section, counts, ended=True)
    checks = (same_versions, _check_copied(counts), *comparison.checks)
    offered = None if counts is None else counts.offered
    return Judgement(live, minutes, Comparison(checks, comparison.metrics), offered, is_over)


def check_same_versions(live: LiveShadow, champion: Placement, challenger: Placement) -> Check:
    """Check that both environments serve the same versions as at the start."""
    served, own = _digest(champion), _digest(challenger)
    if own is None:
        verdict, observed = Verdict.FAIL, f"{challenger.name} no longer serves a model"
    elif own != live.challenger.digest:
        verdict, observed = Verdict.INCONCLUSIVE, f"{challenger.name} serves another version by now"
    elif served is None:
        verdict, observed = Verdict.INCONCLUSIVE, f"{champion.name} no longer serves a model"
    elif served != live.champion_digest:
        verdict, observed = Verdict.INCONCLUSIVE, f"{champion.name} serves another version by now"
    else:
        verdict, observed = Verdict.PASS, "unchanged"
    return Check(
        name="the same two versions throughout",
        verdict=verdict,
        observed=observed,
        expected=f"version {live.champion_version} beside version {live.challenger.version}",
        why="" if verdict is Verdict.PASS else f"{observed}; start the shadow again",
    )


def _compare(
    live: LiveShadow, section: ShadowSection, counts: CopyCounts | None, *, ended: bool = False
) -> Comparison:
    """Compare the records; after the end, unrecorded requests also count as dropped."""
    records = live_shadow.records(live)
    counts = counts or CopyCounts(0, 0)
    dropped = counts.dropped
    if ended and not records.full:
        dropped = max(dropped, counts.offered - len(records.exchanges))
    return shadow.compare(
        records.exchanges,
        section,
        dropped=dropped,
        minutes=live.minutes,
        task=read_task(live.task),
    )


def _check_copied(counts: CopyCounts | None) -> Check:
    if counts is None:
        return Check(
            name="requests were copied",
            verdict=Verdict.INCONCLUSIVE,
            observed="production's server no longer copies",
            expected="from start to judgement",
            why="the server was replaced or stopped; start the shadow again",
        )
    return Check(
        name="requests were copied",
        verdict=Verdict.PASS,
        observed=f"{counts.offered}, of which {counts.dropped} were dropped",
        expected="from start to judgement",
    )


def _digest(placement: Placement) -> str | None:
    deployment = load_target(placement.section.target).status(placement)
    return None if deployment is None else deployment.digest
