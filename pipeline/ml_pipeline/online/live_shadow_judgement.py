"""Judges a live shadow: what was copied, by which versions, and how the answers compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ml_pipeline.config import ShadowSection
from ml_pipeline.core import report
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.online import live_shadow, shadow, shadow_replay
from ml_pipeline.online.live_shadow import Live
from ml_pipeline.online.shadow import Comparison
from ml_pipeline.targets.base import CopyCounts, Placement
from ml_pipeline.targets.loader import load_target
from ml_pipeline.tasks.loader import read_task


@dataclass(frozen=True)
class Judgement:
    """A comparison, with the proof that it is about the two versions of the start."""

    live: Live
    minutes: float
    """For how long the shadow ran when it was judged."""
    comparison: Comparison
    offered: int | None
    """Requests that production's server offered; None where it no longer copies."""
    is_over: bool
    """Whether the shadow has ended: it goes on as long as it is inconclusive."""

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


def judge_live(live: Live, section: ShadowSection, same_versions: Check) -> Judgement:
    """Compare what was answered so far; end the shadow where that is conclusive."""
    minutes = live.minutes
    counts = live_shadow.copied(live)
    comparison = _compare(live, section, counts)
    verdict = report.judge([same_versions, *comparison.checks])
    is_over = counts is None or verdict is not Verdict.INCONCLUSIVE
    if is_over:
        counts = live_shadow.end(live) or counts
        comparison = _compare(live, section, counts, ended=True)
    checks = (same_versions, _check_copied(counts), *comparison.checks)
    offered = None if counts is None else counts.offered
    return Judgement(live, minutes, Comparison(checks, comparison.metrics), offered, is_over)


def check_same_versions(live: Live, champion: Placement, challenger: Placement) -> Check:
    """Return whether both environments serve what they served when the shadow began."""
    served, own = _digest(champion), _digest(challenger)
    if own is None:
        verdict, observed = Verdict.FAIL, f"{challenger.name} does not answer any more"
    elif own != live.challenger.digest:
        verdict, observed = Verdict.INCONCLUSIVE, f"{challenger.name} serves another version by now"
    elif served is None:
        verdict, observed = Verdict.INCONCLUSIVE, f"{champion.name} does not answer any more"
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
    live: Live, section: ShadowSection, counts: CopyCounts | None, *, ended: bool = False
) -> Comparison:
    """Compare what was written down; once it has ended, what was not counts as dropped too."""
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
            why="it was replaced or stopped meanwhile; start the shadow again",
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
