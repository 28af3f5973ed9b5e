"""Whether the challenger is better than the best heuristic too, where there is a champion."""

from __future__ import annotations

from collections.abc import Sequence

from ml_pipeline.core.report import Check
from ml_pipeline.gate.checks.base import GateCheck
from ml_pipeline.gate.model_comparison import ModelComparison


class HeuristicComparison(GateCheck):
    """An advisory check of the primary metric against the best heuristic."""

    name = "best heuristic"

    def judge(self, comparison: ModelComparison) -> Sequence[Check]:
        if comparison.heuristic is None:
            return []
        return [comparison.heuristic.checks[0].model_copy(update={"required": False})]
