"""Watches production after a promotion, and rolls it back where it is outside its limits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml_pipeline.approval import policy as policies
from ml_pipeline.approval.keys import trusted_keys
from ml_pipeline.bundle.writer import PROBABILITY, REFERENCE
from ml_pipeline.core import report
from ml_pipeline.core.errors import PipelineError, UsageError
from ml_pipeline.core.report import Check, ModelRef, Verdict
from ml_pipeline.data import parquet
from ml_pipeline.online import watch
from ml_pipeline.online.metrics_scraper import Servers
from ml_pipeline.promotion import watch_state
from ml_pipeline.promotion.environment import PRODUCTION, Production
from ml_pipeline.promotion.production_history import Entry, read_history
from ml_pipeline.promotion.rollback import good, rollback
from ml_pipeline.registry.mlflow_registry import Registry
from ml_pipeline.serving.access import token_of
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import WatchFlags
from ml_pipeline.targets.base import Placement
from ml_pipeline.targets.loader import load_target

if TYPE_CHECKING:
    from ml_pipeline.online.watch import Floats

PAUSE = 1.0
"""Seconds between two looks."""
SILENT = 5
"""Looks in a row without an answer after which production is asked in another way."""


@dataclass
class Watch:
    """The watch of one promotion: what it found, at the last look."""

    context: Context[WatchFlags]
    production: Production
    promotion: Entry
    servers: Servers
    reference: Floats | None
    checks: Sequence[Check] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    _vain: int = 0

    _began: float = field(default_factory=time.monotonic)
    _left: float = field(init=False)

    def __post_init__(self) -> None:
        whole = 60 * self.context.config.watch.minutes
        self._left = whole - watch_state.seconds_since(self.context.home, self.promotion)

    @property
    def left(self) -> float:
        """Seconds until it is over."""
        return self._left - (time.monotonic() - self._began)

    def look(self) -> bool:
        """Look once; return whether that told something, be it that nothing answers any more."""
        answers = self.servers.look()
        self._vain = 0 if answers else self._vain + 1
        self.checks, self.metrics = watch.judge(
            self.servers.seen(), self.context.config.watch, self.reference
        )
        if self._vain < SILENT:
            return answers
        self._vain = 0
        if self.servers.others:
            served = ", ".join(sorted(digest[:12] for digest in self.servers.others))
            self.checks = [_skipped(f"production serves bundle {served}, which nobody promoted")]
        elif self.production.status() is None:
            self.checks = [*self.checks, self._dead()]
        return True

    def _dead(self) -> Check:
        return Check(
            name="answers",
            verdict=Verdict.FAIL,
            observed=f"none at {self.promotion.endpoint}",
            expected=f"a server of version {self.promotion.version}",
            why=f"{SILENT} looks in a row found no server, and its target knows of none",
        )

    def outcome(self, summary: str, *, waits: bool = False, **more: Any) -> Outcome:
        return Outcome(
            summary=summary,
            checks=self.checks,
            metrics={
                "url": self.promotion.endpoint,
                "seconds_left": round(max(self.left, 0.0), 1),
                **self.metrics,
                **more,
            },
            model=_ref(self.promotion),
            waits=waits,
        )

    def figures(self) -> str:
        found = self.metrics
        told = f"{found['requests']} live requests"
        for name, key, form in (
            ("errors", "errors", "{:.2%}"),
            ("refused", "refused", "{:.2%}"),
            ("p99", "p99_ms", "{:.1f} ms"),
            ("PSI", "psi", "{:.3f}"),
        ):
            told += f", {name} {watch.shown(found[key], form)}"
        return told


def run(context: Context[WatchFlags]) -> Outcome:
    """Watch the last promotion until its time is over or a limit is broken.

    Raises:
        Refused: the version is outside its limits and cannot be rolled back.
        UsageError: there is no environment ``production``, or the token is not set.
        EnvironmentFault: what answers is no server of a model; or the version is outside its
            limits, and disk, port or registry are not to be had. Run again, it is tried again.
    """
    minutes = context.config.watch.minutes
    if not minutes:
        why = "watch.minutes is 0 in ml.yaml, so no promotion is watched; set it to 30, say"
        return Outcome(summary=why, checks=[_skipped(why)])
    if PRODUCTION not in context.config.environments:
        raise UsageError("ml.yaml has no environment 'production'", hint="add it to 'environments'")
    placement = Placement.of(context.project, PRODUCTION, context.home)
    target = load_target(placement.section.target)
    production = Production(target, placement, context.config.gitops)
    made = _finished(context, production)
    if made is not None:
        check = Check(name="limits", verdict=Verdict.FAIL, observed=made.reason)
        return Outcome(_told(made), [check], {"to": made.version}, model=_ref(made))
    promotion = watch_state.due(context.home, minutes)
    if isinstance(promotion, str):
        return Outcome(summary=promotion, checks=[_skipped(promotion)])
    token = token_of("127.0.0.1", context.config.serving.token_env)
    return _watch(
        Watch(
            context,
            production,
            promotion,
            Servers(promotion.endpoint, promotion.bundle, token),
            _reference(context, promotion.bundle),
        )
    )


def _watch(watched: Watch) -> Outcome:
    context, promotion = watched.context, watched.promotion
    total = 60 * context.config.watch.minutes
    while True:
        told = watched.look()
        now = watch_state.due(context.home, context.config.watch.minutes, begun=True)
        if isinstance(now, str):
            watched.checks = [_skipped(now)]
        if [check.verdict for check in watched.checks] == [Verdict.SKIPPED]:
            return watched.outcome(watched.checks[0].why)
        outside = watch.broken(watched.checks)
        if outside:
            return _go_back(watched, outside)
        left = watched.left
        if left <= 0 and told:
            return _ended(watched)
        version = f"version {promotion.version}"
        if context.flags.judge and told:
            found = f"{version} is watched: {watched.figures()}; {left:.0f} s left"
            return watched.outcome(found, waits=True)
        context.progress(f"{version}: {watched.figures()}", 1 - max(left, 0.0) / total)
        time.sleep(PAUSE if left <= 0 else min(PAUSE, left))


def _ended(watched: Watch) -> Outcome:
    """Say what came of a watch whose time is over, with nothing outside its limits."""
    number = f"version {watched.promotion.version}"
    section = watched.context.config.watch
    verdict = report.judge(watched.checks)
    if verdict is Verdict.SKIPPED:
        told = (
            f"too few live requests to judge: {watched.metrics['requests']} of at least "
            f"{section.min_requests} in {section.minutes:g} min; {number} stays"
        )
    elif verdict is Verdict.PASS:
        told = f"{number} stays: {watched.figures()} in {section.minutes:g} min"
    else:
        open_ = next(one for one in watched.checks if one.verdict is Verdict.INCONCLUSIVE)
        told = f"{number} stays, but was not judged: {open_.name}: {open_.why}"
    watch_state.end(watched.context.home, watched.promotion, verdict, told)
    return watched.outcome(told)


def _go_back(watched: Watch, outside: Sequence[Check]) -> Outcome:
    """Roll production back; where there is no earlier version it stays, and that is said."""
    context, promotion = watched.context, watched.promotion
    first = outside[0]
    found = f"{first.name}: {first.shown}, expected {first.expected}"
    number = f"version {promotion.version}"
    if len(good(read_history(context.home))) < 2:
        told = f"{number} is outside its limits and stays, for want of an earlier version: {found}"
        watch_state.end(context.home, promotion, Verdict.FAIL, told)
        return watched.outcome(told)
    context.progress(f"{number} is outside its limits: rolling back", 1.0)
    policy = policies.load(context.policy, context.config.policy)
    try:
        done = rollback(
            Registry.of(context.project, context.home, context.progress),
            trusted_keys(context.home, policy),
            watched.production,
            to=None,
            by=watch_state.BY,
            reason=found,
            run_id=context.run_id,
            present=(promotion.version, promotion.bundle),
        )
    except PipelineError as error:
        raise type(error)(
            f"{number} is outside its limits ({found}) and could not be rolled back: {error.fault}",
            expected=error.expected,
            hint=error.hint or "run 'ml-pipeline watch' again",
        ) from error
    told = _told(read_history(context.home)[-1])
    if done.open:
        told += "; the registry does not know yet: the next watch, promote or reconcile tells it"
    watch_state.end(context.home, promotion, Verdict.FAIL, told)
    return watched.outcome(told, to=done.version.number, seconds=round(done.seconds, 3))


def _finished(context: Context[WatchFlags], production: Production) -> Entry | None:
    """Return the rollback of a watch that this run made or has finished now."""
    policy = policies.load(context.policy, context.config.policy)
    made = watch_state.finish(
        Registry.of(context.project, context.home, context.progress),
        trusted_keys(context.home, policy),
        production,
        context.progress,
    )
    return made or watch_state.rolled_back(context.home, context.run_id)


def _told(made: Entry) -> str:
    return f"version {made.former_version} was rolled back to version {made.version}: {made.reason}"


def _reference(context: Context[WatchFlags], digest: str) -> Floats | None:
    """Return the model's answers [n] to rows of its training; None where they cannot be read."""
    path = context.home / "released" / digest / REFERENCE
    try:
        frame = parquet.read(path, [PROBABILITY])
    except UsageError:
        return None
    return frame[PROBABILITY].to_numpy(dtype="float64")


def _ref(entry: Entry) -> ModelRef:
    return ModelRef(
        name=entry.model, version=entry.version, identity=entry.identity, digest=entry.bundle
    )


def _skipped(why: str) -> Check:
    return Check(name="watch", verdict=Verdict.SKIPPED, why=why)
