"""Roll production back to an earlier version; the registry is optional."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ml_pipeline.core.errors import Refused
from ml_pipeline.promotion import production_history
from ml_pipeline.promotion.environment import Production, production_lock
from ml_pipeline.promotion.journal import FaultHook, Journal, no_faults, open_journals
from ml_pipeline.promotion.production_history import Entry
from ml_pipeline.promotion.switch import SwitchResult, change, verified_version
from ml_pipeline.registry.registry import Registry

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

Reference = tuple[int, str]
"""Number and digest of a version."""


@dataclass(frozen=True)
class ProductionChange:
    """A change of production: to which version, and who made it when and why."""

    reference: Reference
    by: str
    at: datetime
    reason: str = ""
    """Empty where it is not recorded, as in a lease of the registry."""

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ", for a reason that is not recorded here"
        return f"on {self.at.date().isoformat()} by {self.by}{why}"


def changes_of(history: Iterable[Entry]) -> list[ProductionChange]:
    """Return the changes of a history, oldest first."""
    return [
        ProductionChange((one.version, one.bundle), one.by, one.at, one.reason) for one in history
    ]


def rollback(
    registry: Registry,
    keys: Sequence[SSlibKey],
    production: Production,
    *,
    to: int | None,
    by: str,
    reason: str,
    run_id: str,
    present: Reference | None = None,
    fault_point: FaultHook = no_faults,
) -> SwitchResult:
    """Serve a version that was in production before, then update the registry.

    Args:
        registry: Updated at the end; read before only for what the home does not keep.
        keys: Public keys whose signature counts.
        production: Where the version is to serve.
        to: Its number; None for the previous one. A version that was rolled back needs a new
            approval.
        by: Name of the person, for the history.
        reason: Their reason, for the history.
        run_id: Of this run, for the history.
        present: The version that must be in production; None accepts any.
        fault_point: Called at every point of the sequence.

    Raises:
        Refused: there is no such version or it was rolled back, its bundle or approval does not
            verify, its server is not healthy, or ``present`` was replaced; what served before
            serves on.
        EnvironmentFault: the disk or the port is unavailable, or another change runs.
    """
    home = production.home
    with production_lock(home):
        open_ = open_journals(home)
        found, target = _choose(production_history.read_history(home), open_, to)
        if present is not None and found != present:
            raise Refused(f"production is at {_named(found)} by now", expected=_named(present))
        if found == target and not open_:
            raise Refused(
                f"{_named(target)} is what production is to serve already",
                hint="if it does not answer: 'ml-pipeline reconcile production'",
            )
        with verified_version(registry, keys, home, *target) as wanted:
            return change(
                "rollback",
                registry,
                production,
                wanted,
                former=(None, None) if found is None else found,
                by=by,
                reason=reason,
                run_id=run_id,
                fault_point=fault_point,
            )


def rollback_stack(history: Sequence[Entry]) -> list[Reference]:
    """Return the versions that were not rolled back, oldest first; the last is in production.

    Rolling back pops the later versions.
    """
    return stack_of((entry.version, entry.bundle) for entry in history)


def stack_of(changes: Iterable[Reference]) -> list[Reference]:
    """Return what ``rollback_stack`` does, for what production went to, change by change."""
    stack: list[Reference] = []
    for one in changes:
        if one in stack:
            del stack[stack.index(one) + 1 :]
        else:
            stack.append(one)
    return stack


def _choose(
    history: Sequence[Entry], open_: Sequence[Journal], to: int | None
) -> tuple[Reference | None, Reference]:
    """Return what is in production now and what is to be."""
    stack = rollback_stack(history)
    started = [
        one.record
        for one in open_
        if one.record.kind == "promotion" and "deploy" in one.record.steps
    ]
    if started and (not stack or stack[-1][1] != started[-1].bundle):
        stack.append((started[-1].version, started[-1].bundle))
    present = stack[-1] if stack else None
    if to is None:
        if len(stack) < 2:
            raise Refused(
                "there is no earlier version to go back to",
                expected="two promotions that were not rolled back",
                hint="if the present one does not answer: 'ml-pipeline reconcile production'"
                if stack
                else "this home has no history; is ML_HOME the right one?",
            )
        return present, stack[-2]
    for reference in reversed(stack):
        if reference[0] == to:
            return present, reference
    for entry in reversed(history):
        if entry.version == to:
            raise rolled_back(changes_of(history), (entry.version, entry.bundle))
    numbers = ", ".join(str(number) for number in sorted({entry.version for entry in history}))
    raise Refused(
        f"version {to} was never in production here", expected=f"one of: {numbers or 'none'}"
    )


def rolled_back(changes: Sequence[ProductionChange], reference: Reference) -> Refused:
    """Return the refusal of a version that production went back from, by whom, when and why."""
    left, before = None, []
    for number, one in enumerate(changes, 1):
        after = stack_of(change.reference for change in changes[:number])
        if reference in before and reference not in after:
            left = one
        before = after
    when = "; by whom and when is not recorded" if left is None else f" {left}"
    return Refused(
        f"version {reference[0]} was rolled back{when}",
        expected="a version that was not rolled back",
        hint="to promote it again run 'ml-pipeline gate', 'approve' and 'promote'",
    )


def _named(reference: Reference | None) -> str:
    return "no version" if reference is None else f"version {reference[0]}"
