"""What was decided earlier against this version: rejections and rollbacks."""

from __future__ import annotations

from collections.abc import Sequence

from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.gate.checks.base import GateCheck
from ml_pipeline.gate.model_comparison import ModelComparison


class EarlierDecisions(GateCheck):
    """An advisory check, which an approver may overrule."""

    name = "earlier decisions"

    def judge(self, comparison: ModelComparison) -> Sequence[Check]:
        decisions = comparison.earlier_decisions
        if not decisions:
            return []
        return [
            Check(
                name=self.name,
                verdict=Verdict.INCONCLUSIVE,
                required=False,
                observed=decisions,
                expected="none against this version",
                why=decisions,
            )
        ]
