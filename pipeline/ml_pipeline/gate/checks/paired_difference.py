"""Whether primary metric and guards reach their thresholds, each by its paired test."""

from __future__ import annotations

from collections.abc import Sequence

from ml_pipeline.config import GateMinimums, GateSection
from ml_pipeline.core.report import Check
from ml_pipeline.gate.checks.base import GateCheck, looser
from ml_pipeline.gate.comparison_set import ComparisonRules
from ml_pipeline.gate.model_comparison import ModelComparison

ALLOWED_GOALS = {"auto": ("auto", "superior"), "superior": ("superior",)}


class PairedDifference(GateCheck):
    """The mean difference per unit of evidence exceeds its threshold (``statistics.paired_test``).

    All are required: an intersection-union test (Berger 1982).
    """

    name = "paired difference"

    def judge(self, comparison: ModelComparison) -> Sequence[Check]:
        return comparison.comparisons.checks


def check_minimum(
    minimum: GateMinimums, section: GateSection, rules: ComparisonRules, where: str
) -> None:
    """Refuse goal, metric, margins, error rate or guards that are looser than the policy's.

    Raises:
        UsageError: naming the key.
    """
    if minimum.goal is not None and section.goal not in ALLOWED_GOALS[minimum.goal]:
        raise looser(where, "goal", section.goal, " or ".join(ALLOWED_GOALS[minimum.goal]))
    if minimum.metric is not None and rules.metric != minimum.metric:
        raise looser(where, "metric", rules.metric, minimum.metric)
    for key in ("alpha", "non_inferior_margin"):
        most, setting = getattr(minimum, key), getattr(rules, key)
        if most is not None and setting > most:
            raise looser(where, key, setting, f"at most {most}")
    if minimum.margin is not None and rules.margin < minimum.margin:
        raise looser(where, "margin", rules.margin, f"at least {minimum.margin}")
    if minimum.min_days is not None and rules.min_units < minimum.min_days:
        raise looser(where, "min_days", rules.min_units, f"at least {minimum.min_days}")
    for metric, most in minimum.guards.items():
        if metric == rules.metric:
            continue
        if metric not in rules.guards:
            raise looser(where, f"guards.{metric}", "missing", f"a margin of at most {most}")
        if rules.guards[metric] > most:
            raise looser(where, f"guards.{metric}.margin", rules.guards[metric], f"at most {most}")
