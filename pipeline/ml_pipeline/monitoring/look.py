"""One look at an environment: read what is new, judge it, and keep what the next look needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import Config
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.report import Check, Progress, Verdict
from ml_pipeline.monitoring import alarms, drift_judgement
from ml_pipeline.monitoring.conclusions import Conclusion, Finding, Suggestion, conclude
from ml_pipeline.monitoring.drift_judgement import Judgement, Terms, as_date, epoch_day
from ml_pipeline.monitoring.live_rules import LiveRules
from ml_pipeline.monitoring.live_traffic import Traffic, judge_traffic
from ml_pipeline.monitoring.log_reading import LogReading, read_log
from ml_pipeline.monitoring.model_age import training_end
from ml_pipeline.monitoring.monitored_model import MonitoredModel
from ml_pipeline.monitoring.performance_tracker import PerformanceTracker
from ml_pipeline.monitoring.served_rows import Cursor
from ml_pipeline.monitoring.state import MonitorFolder, MonitorState
from ml_pipeline.monitoring.summaries import LiveSummaries
from ml_pipeline.statistics.alarm_budget import false_alarm_rate

if TYPE_CHECKING:
    from ml_pipeline.problem import Problem

FIRST_LOOK = 0.9
"""Share of a day's budget that the first look of the day spends."""


@dataclass(frozen=True)
class LookResult:
    """What a look found."""

    suggestion: Suggestion
    checks: Sequence[Check]
    metrics: Mapping[str, Any]


@dataclass
class Look:
    """A look at the version that an environment serves."""

    folder: MonitorFolder
    config: Config
    problem: Problem
    model: MonitoredModel
    log: Path
    traffic: Traffic
    run_id: str
    now: datetime
    progress: Progress
    open_performance: Callable[[int], PerformanceTracker]
    """Opens what is known of performance, after the last look that counts."""
    _before: MonitorState | None = field(default=None, init=False)

    def run(self) -> LookResult:
        """Read, judge and keep the result; a look that is interrupted has counted nothing.

        Raises:
            EnvironmentFault: the state, the log or the disk fails.
            UsageError: an expectation of ``ml.yaml`` is wrong.
        """
        self._before = self.folder.read()
        if self._before is not None:
            self.folder.append_events(self._before)
        summaries = self._summaries()
        cursor = self._before.cursor if self._before is not None else Cursor()
        performance = self.open_performance(0 if self._before is None else self._before.look)
        reading = read_log(self.log, cursor, summaries, performance, self.progress)
        self.progress("comparing with training", 0.8)
        judgements = self._judge(summaries, reading, performance)
        checks = [check for judgement in judgements for check in judgement.checks]
        findings = [finding for judgement in judgements for finding in judgement.findings]
        undecided = {name for judgement in judgements for name in judgement.undecided}
        updated = alarms.update(
            self._continued.alarms if self._continued is not None else self._replaced_alarms(),
            findings,
            undecided=undecided,
            version=self.model.version,
            at=self.now,
        )
        kept = [
            Finding(alarm.name, alarm.conclusion, alarm.text)
            for alarm in updated.open.values()
            if alarm.name not in {finding.name for finding in findings}
        ]
        suggestion = self._conclude([*findings, *kept], checks, summaries)
        state = self._state(suggestion, updated, reading, summaries, judgements)
        summaries.write(self.folder / state.summaries)
        self.folder.commit(state)
        performance.remove_old(self.now)
        return LookResult(suggestion, checks, self._metrics(state, judgements))

    # --- what the last look left -----------------------------------------------------------

    @property
    def _continued(self) -> MonitorState | None:
        """The state of the last look, if it was at the same bundle."""
        before = self._before
        same = before is not None and before.digest == self.model.bundle.digest
        return before if same else None

    def _replaced_alarms(self) -> Mapping[str, alarms.Alarm]:
        return {} if self._before is None else self._before.alarms

    def _summaries(self) -> LiveSummaries:
        rules = LiveRules.of(
            self.problem, self.config.data, self.model.bundle.schema.names, self._today
        )
        summaries = LiveSummaries(self.model, rules)
        if self._continued is not None:
            path = self.folder / self._continued.summaries
            try:
                summaries.read(path)
            except (OSError, ValueError, KeyError) as error:
                raise EnvironmentFault(
                    f"{path} cannot be read: {error}",
                    expected="the summaries of the last look",
                    hint=f"restore it from a backup, or remove {self.folder.root} to begin anew",
                ) from None
        return summaries

    @property
    def _today(self) -> date:
        return self.now.date()

    # --- judgement -------------------------------------------------------------------------

    def _judge(
        self, summaries: LiveSummaries, reading: LogReading, performance: PerformanceTracker
    ) -> list[Judgement]:
        section = self.config.monitor
        terms = self._terms(summaries)
        judged = [
            judge_traffic(
                self.traffic,
                reading,
                section,
                known_rows=summaries.rows,
                last_request=self._last_request(reading),
                now=self.now,
            )
        ]
        judged.append(
            drift_judgement.judge_drift(
                summaries, terms, section.ignored_importance, reading.not_logged
            )
        )
        judged.append(drift_judgement.judge_rules(summaries, terms))
        today = epoch_day(self.now)
        last = 0 if self._continued is None else epoch_day(self._continued.at)
        rows = summaries.rows_by_day
        over = min(today - 1, max(rows, default=0))  # days without rows since are a silence
        judged.append(drift_judgement.judge_volume(rows, terms, last, over))
        judged.append(performance.judge(self.now, terms))
        judged.append(self._age())
        return judged

    def _terms(self, summaries: LiveSummaries) -> Terms:
        continued, first_day = self._continued, summaries.first_day
        return Terms(
            first_day=first_day or 0,
            first_days={} if continued is None else continued.first_days,
            open_alarms=() if continued is None else continued.alarms,
            elapsed_days=self._spent_days,
            budget=false_alarm_rate(self.config.monitor.false_alarms_per_year),
            min_rows=self.config.monitor.min_rows,
        )

    @property
    def _days_since(self) -> int:
        """Days since the day of the last look; 1 at the first look, 0 on the same day."""
        if self._before is None:
            return 1
        return max(0, (self.now.date() - self._before.at.date()).days)

    @property
    def _further_looks(self) -> int:
        """Number of looks on this day before this one."""
        if self._before is None or self._days_since:
            return 0
        return self._before.further_looks + 1

    @property
    def _spent_days(self) -> float:
        """Days whose share of the yearly budget this look spends.

        The first look of a day spends most of the days since the last one, and further looks of
        that day half of what is left: the sum over a year is the same, however often one looks.
        """
        if self._further_looks:
            return float((1 - FIRST_LOOK) * 0.5**self._further_looks)
        return FIRST_LOOK * self._days_since

    def _last_request(self, reading: LogReading) -> float | None:
        known = self._continued.last_request if self._continued is not None else None
        return max((time for time in (reading.newest, known) if time is not None), default=None)

    def _age(self) -> Judgement:
        """Judge the age of the data that the model was trained on."""
        name, most = "model age", self.config.monitor.max_age_days
        ended = training_end(self.model.bundle.cutoffs)
        if ended is None:
            why = "the training data have no dates"
            return Judgement([Check(name=name, verdict=Verdict.SKIPPED, why=why)])
        days = (self._today - ended).days
        if most is None or days <= most:
            expected = "any" if most is None else f"at most {most:g} days"
            passed = Check(name=name, verdict=Verdict.PASS, observed=days, expected=expected)
            return Judgement([passed], metrics={"model_age_days": days})
        text = f"the training data end on {ended}, {days} days ago; the limit is {most:g}"
        failed = Check(
            name=name,
            verdict=Verdict.FAIL,
            observed=days,
            expected=f"at most {most:g} days",
            why=text,
        )
        finding = Finding(name, Conclusion.RETRAIN, text)
        return Judgement([failed], [finding], {"model_age_days": days})

    def _conclude(
        self, findings: Sequence[Finding], checks: Sequence[Check], summaries: LiveSummaries
    ) -> Suggestion:
        version = f"version {self.model.version}"
        undecided = next((each for each in checks if each.verdict is Verdict.INCONCLUSIVE), None)
        if not findings and undecided is not None:
            return Suggestion(
                Conclusion.INCONCLUSIVE, f"{version}: {undecided.name}: {undecided.why}"
            )
        quiet = f"{version} is fine: {len(summaries.references)} series are as in training"
        return conclude(findings, quiet)

    # --- what is kept ----------------------------------------------------------------------

    def _state(
        self,
        suggestion: Suggestion,
        updated: alarms.Alarms,
        reading: LogReading,
        summaries: LiveSummaries,
        judgements: Sequence[Judgement],
    ) -> MonitorState:
        before, continued = self._before, self._continued
        look = 1 if before is None else before.look + 1
        first_days = {} if continued is None else dict(continued.first_days)
        today = summaries.last_day
        for event in updated.events:
            if event.event == "resolved" and today is not None:
                first_days[event.name] = today + 1
        same_run = before is not None and before.run_id == self.run_id
        earlier = before.events if before is not None and same_run else []
        unchanged = before is not None and before.conclusion is suggestion.conclusion
        days = [one.first_drift for one in judgements if one.first_drift is not None]
        return MonitorState(
            look=look,
            further_looks=self._further_looks,
            run_id=self.run_id,
            at=self.now,
            cursor=reading.cursor,
            version=self.model.version,
            digest=self.model.bundle.digest,
            summaries=f"summaries-{look}.npz",
            first_days=first_days,
            alarms=dict(updated.open),
            events=[*earlier, *updated.events],
            conclusion=suggestion.conclusion,
            reason=suggestion.reason,
            cause=suggestion.cause,
            since=before.since if before is not None and unchanged else self.now,
            drift_since=as_date(min(days)).isoformat() if days else "",
            rows=reading.rows + (0 if continued is None else continued.rows),
            last_request=self._last_request(reading),
            statuses={server: dict(counts) for server, counts in self.traffic.counted.items()},
        )

    def _metrics(self, state: MonitorState, judgements: Sequence[Judgement]) -> dict[str, Any]:
        metrics: dict[str, Any] = {
            "conclusion": str(state.conclusion),
            "reason": state.reason,
            "cause": state.cause,
            "look": state.look,
            "since": None if self._before is None else self._before.at.isoformat(),
            "until": state.at.isoformat(),
            "version": state.version,
            "rows_of_version": state.rows,
        }
        for judgement in judgements:
            metrics |= judgement.metrics
        return metrics | {
            "alarms": [alarm.model_dump(mode="json") for alarm in state.alarms.values()],
            "events": [event.model_dump(mode="json") for event in state.events],
            "budget": {"false_alarms_per_year": self.config.monitor.false_alarms_per_year},
            "cool_down_days": self.config.monitor.cool_down_days,
        }
