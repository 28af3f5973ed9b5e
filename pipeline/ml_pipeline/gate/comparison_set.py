"""The primary comparison of two models and the guards, with the rules for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import Config, GateSection
from ml_pipeline.core.report import Check
from ml_pipeline.evaluation import checks as limits
from ml_pipeline.gate.comparison import Comparison, comparable_metric, compare
from ml_pipeline.gate.decision import Goal, decide, threshold
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.tasks.loader import load_task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.evaluation.holdout import Sample
    from ml_pipeline.problem import Problem
    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ComparisonRules:
    """What is compared, and how strictly: ``gate`` of ml.yaml over the problem's own."""

    metric: str
    guards: Mapping[str, float]
    margin: float
    non_inferior_margin: float
    alpha: float
    power: float
    min_units: int
    task: Task = BINARY

    @classmethod
    def of(
        cls, section: GateSection, metric: str, guards: Mapping[str, float], task: Task = BINARY
    ) -> ComparisonRules:
        """Lay the section over the problem's primary metric and guards.

        Raises:
            UsageError: a metric is unknown or has no value for a single day.
        """
        own = section.guards
        margins = guards if own is None else {name: guard.margin for name, guard in own.items()}
        primary = comparable_metric(section.metric or metric, "gate.metric", task)
        return cls(
            metric=primary,
            guards={
                comparable_metric(name, "gate.guards", task): margin
                for name, margin in margins.items()
                if name != primary
            },
            margin=section.margin,
            non_inferior_margin=section.non_inferior_margin,
            alpha=section.alpha,
            power=section.power,
            min_units=section.min_days,
            task=task,
        )


def check_metrics(config: Config, problem: Problem) -> None:
    """Refuse metrics and limits that no model could meet, before one is trained.

    Raises:
        UsageError: the key is named.
    """
    task = load_task(config.problem.task)
    limits.check_metrics(config.evaluate, has_groups=problem.group_column is not None, task=task)
    ComparisonRules.of(config.gate, problem.primary_metric, problem.guards, task)


@dataclass(frozen=True)
class ComparisonSet:
    """The primary comparison, the guards, and their checks."""

    primary: Comparison
    guards: tuple[Comparison, ...]
    checks: tuple[Check, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "primary": self.primary.to_json(),
            "guards": [guard.to_json() for guard in self.guards],
        }


def run_comparisons(
    sample: Sample,
    challenger: Floats,
    other: Floats | None,
    *,
    against: str,
    goal: Goal,
    rules: ComparisonRules,
) -> ComparisonSet:
    """Compare by the primary metric and by each guard, and decide.

    The primary metric has to reach the goal; a guard must not be worse by more than its margin. All
    are required, so the chance that a challenger that fails any of them in truth gets through is at
    most alpha (an intersection-union test, Berger 1982): no correction for their number is needed.
    """

    def by(metric: str, null: float) -> Comparison:
        return compare(
            metric,
            sample,
            challenger,
            other,
            against=against,
            null=null,
            alpha=rules.alpha,
            power=rules.power,
            min_units=rules.min_units,
        )

    primary = by(rules.metric, threshold(goal, rules.margin, rules.non_inferior_margin))
    guards = tuple(by(metric, -margin) for metric, margin in rules.guards.items())
    return ComparisonSet(
        primary,
        guards,
        (
            decide(primary),
            *(decide(guard, name=f"guard {guard.title} against {against}") for guard in guards),
        ),
    )


def no_comparison(
    rules: ComparisonRules, against: str, why: str, units: str = "day"
) -> ComparisonSet:
    """Return a set without tests, whose check is inconclusive."""

    def none(metric: str) -> Comparison:
        title = rules.task.metrics[metric].title
        return Comparison(metric, against, units, why=why, metric_title=title)

    primary, guards = none(rules.metric), tuple(map(none, rules.guards))
    return ComparisonSet(primary, guards, (decide(primary),))


def headline(checks: Sequence[Check], primary: Comparison, goal: Goal) -> str:
    """Return the gate's one line: what it decided and on what."""
    from ml_pipeline.core.report import Verdict, blocking, judge
    from ml_pipeline.gate.decision import describe

    verdict = judge(checks)
    title = primary.title
    test = primary.test
    numbers = ""
    if test is not None and primary.challenger is not None and primary.other is not None:
        numbers = (
            f"{title} {primary.challenger:.4f} against {primary.other:.4f} of {primary.against}: "
            f"{describe(test)} {primary.unit}s ({goal.replace('_', '-')})"
        )
    if verdict is Verdict.PASS:
        return f"may be promoted: {numbers}"
    stops = blocking(checks)
    first = stops[0] if stops else None
    reason = f"{first.name}: {first.why or first.shown}" if first else "nothing was checked"
    more = f" (and {len(stops) - 1} more)" if len(stops) > 1 else ""
    return f"{'not proved' if verdict is Verdict.INCONCLUSIVE else 'refused'}: {reason}{more}"
