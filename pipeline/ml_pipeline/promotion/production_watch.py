"""The watch of a promotion: observes production until its time is over or a limit is broken."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_pipeline.bundle.reader import MANIFEST, parse_manifest
from ml_pipeline.bundle.reference_rows import later_rows, units_of
from ml_pipeline.config import WatchSection
from ml_pipeline.core import report
from ml_pipeline.core.artefacts import REFERENCE_FILE
from ml_pipeline.core.errors import PipelineError, Refused, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, ModelRef, Progress, Verdict
from ml_pipeline.data import parquet
from ml_pipeline.online import watch
from ml_pipeline.online.metrics_scraper import Servers
from ml_pipeline.online.watch import ReferencePredictions
from ml_pipeline.promotion import watch_state
from ml_pipeline.promotion.environment import Production
from ml_pipeline.promotion.production_history import Entry, read_history
from ml_pipeline.promotion.rollback import rollback_stack
from ml_pipeline.promotion.switch import SwitchResult
from ml_pipeline.tasks.base import from_column
from ml_pipeline.tasks.loader import read_task

PAUSE_SECONDS = 1.0
"""Seconds between two observations."""
SILENT_LOOKS = 5
"""Consecutive observations without a response after which the target's status is read."""

RollBack = Callable[[str], SwitchResult]
"""Rolls production back, given the reason."""


@dataclass(frozen=True)
class WatchResult:
    """The result of a watch: a summary, the checks of its last observation, and its figures."""

    summary: str
    checks: Sequence[Check]
    metrics: Mapping[str, Any]
    is_over: bool = True
    """Whether the watch has ended; else it is to be continued."""


@dataclass
class ProductionWatch:
    """The watch of one promotion, with the checks and figures of its last look."""

    home: Home
    section: WatchSection
    production: Production
    promotion: Entry
    servers: Servers
    reference: ReferencePredictions | None
    """None where they cannot be read."""
    checks: Sequence[Check] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    _silent_looks: int = 0
    _began: float = field(default_factory=time.monotonic)
    _left_at_start: float = field(init=False)

    def __post_init__(self) -> None:
        whole = 60 * self.section.minutes
        self._left_at_start = whole - watch_state.seconds_since(self.home, self.promotion)

    @property
    def left(self) -> float:
        """Seconds until it is over."""
        return self._left_at_start - (time.monotonic() - self._began)

    def run(self, progress: Progress, roll_back: RollBack, *, once: bool) -> WatchResult:
        """Observe production until the watch is over; with ``once`` until the first response.

        Raises:
            PipelineError: the version is outside its limits and could not be rolled back.
        """
        version, total = f"version {self.promotion.version}", 60 * self.section.minutes
        while True:
            is_conclusive = self.look()
            now = watch_state.due(self.home, self.section.minutes, begun=True)
            if isinstance(now, str):
                self.checks = [skipped(now)]
            if [check.verdict for check in self.checks] == [Verdict.SKIPPED]:
                return self._result(self.checks[0].why)
            if broken := watch.broken_limits(self.checks):
                return self._roll_back(broken[0], progress, roll_back)
            left = self.left
            if left <= 0 and is_conclusive:
                return self._end()
            if once and is_conclusive:
                summary = f"{version} is watched: {self.figures()}; {left:.0f} s left"
                return self._result(summary, is_over=False)
            progress(f"{version}: {self.figures()}", 1 - max(left, 0.0) / total)
            time.sleep(PAUSE_SECONDS if left <= 0 else min(PAUSE_SECONDS, left))

    def look(self) -> bool:
        """Observe once; return whether there was a response, or certainly will be none."""
        answers = self.servers.scrape()
        self._silent_looks = 0 if answers else self._silent_looks + 1
        self.checks, self.metrics = watch.judge(self.servers.totals(), self.section, self.reference)
        if self._silent_looks < SILENT_LOOKS:
            return answers
        self._silent_looks = 0
        if self.servers.others:
            served = ", ".join(sorted(digest[:12] for digest in self.servers.others))
            self.checks = [skipped(f"production serves bundle {served}, which was not promoted")]
        elif self.production.status() is None:
            self.checks = [*self.checks, self._no_server()]
        return True

    def figures(self) -> str:
        metrics = self.metrics
        words = f"{metrics['requests']} live requests"
        for name, key, form in (
            ("errors", "errors", "{:.2%}"),
            ("refused", "refused", "{:.2%}"),
            ("p99", "p99_ms", "{:.1f} ms"),
            ("distance", "distance", "{:.3f}"),
        ):
            words += f", {name} {watch.format_figure(metrics[key], form)}"
        return words

    def _no_server(self) -> Check:
        return Check(
            name="answers",
            verdict=Verdict.FAIL,
            observed=f"none at {self.promotion.endpoint}",
            expected=f"a server of version {self.promotion.version}",
            why=f"{SILENT_LOOKS} looks in a row found no server, and its target knows of none",
        )

    def _end(self) -> WatchResult:
        """Record the end of a watch whose time is over, with nothing outside its limits."""
        number, section = f"version {self.promotion.version}", self.section
        verdict = report.judge(self.checks)
        if verdict is Verdict.SKIPPED:
            summary = (
                f"too few live requests to judge: {self.metrics['requests']} of at least "
                f"{section.min_requests} in {section.minutes:g} min; {number} stays"
            )
        elif verdict is Verdict.PASS:
            summary = f"{number} stays: {self.figures()} in {section.minutes:g} min"
        else:
            undecided = next(
                check for check in self.checks if check.verdict is Verdict.INCONCLUSIVE
            )
            summary = f"{number} stays, but was not judged: {undecided.name}: {undecided.why}"
        watch_state.end(self.home, self.promotion, verdict, summary)
        return self._result(summary)

    def _roll_back(self, broken: Check, progress: Progress, roll_back: RollBack) -> WatchResult:
        """Roll production back; without an earlier version it stays, and the summary says so."""
        number = f"version {self.promotion.version}"
        reason = f"{broken.name}: {broken.shown}, expected {broken.expected}"
        if len(rollback_stack(read_history(self.home))) < 2:
            summary = (
                f"{number} is outside its limits and stays, since there is no earlier version: "
                f"{reason}"
            )
            watch_state.end(self.home, self.promotion, Verdict.FAIL, summary)
            return self._result(summary)
        progress(f"{number} is outside its limits: rolling back", 1.0)
        try:
            done = roll_back(reason)
        except PipelineError as error:
            raise type(error)(
                f"{number} is outside its limits ({reason}) and could not be rolled back: "
                f"{error.fault}",
                expected=error.expected,
                hint=error.hint or "run 'ml-pipeline watch' again",
            ) from error
        summary = rollback_summary(read_history(self.home)[-1])
        if done.open:
            summary += (
                "; the registry does not know yet: the next watch, promote or reconcile tells it"
            )
        watch_state.end(self.home, self.promotion, Verdict.FAIL, summary)
        return self._result(summary, to=done.version.number, seconds=round(done.seconds, 3))

    def _result(self, summary: str, *, is_over: bool = True, **more: Any) -> WatchResult:
        metrics = {
            "url": self.promotion.endpoint,
            "seconds_left": round(max(self.left, 0.0), 1),
            **self.metrics,
            **more,
        }
        return WatchResult(summary, self.checks, metrics, is_over)


def rollback_summary(entry: Entry) -> str:
    """Return a line about a rollback in the history."""
    return (
        f"version {entry.former_version} was rolled back to version {entry.version}: {entry.reason}"
    )


def reference_predictions(home: Home, digest: str) -> ReferencePredictions | None:
    """Return the predictions of the bundle's reference rows; None if they are unreadable."""
    folder = home / "released" / digest
    try:
        manifest = parse_manifest((folder / MANIFEST).read_bytes(), folder / MANIFEST)
        task = read_task(manifest["training"].get("task"))
        frame = later_rows(parquet.read(folder / REFERENCE_FILE))
    except (OSError, UsageError, Refused):
        return None
    if task.column not in frame.columns:
        return None
    values = task.histogram_values(from_column(frame[task.column]))
    return ReferencePredictions(values, units_of(frame))


def model_of(entry: Entry) -> ModelRef:
    """Return the model that a report on this entry of the history is about."""
    return ModelRef(
        name=entry.model, version=entry.version, identity=entry.identity, digest=entry.bundle
    )


def skipped(why: str) -> Check:
    """Return the check of a watch that does not take place."""
    return Check(name="watch", verdict=Verdict.SKIPPED, why=why)
