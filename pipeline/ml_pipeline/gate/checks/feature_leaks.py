"""Whether one feature alone predicts the label better than the policy allows."""

from __future__ import annotations

from collections.abc import Sequence

from ml_pipeline.config import Section
from ml_pipeline.core.report import Check
from ml_pipeline.evaluation import label_leaks
from ml_pipeline.gate.checks.base import GateCheck
from ml_pipeline.gate.model_comparison import ModelComparison


class FeatureLeaks(GateCheck):
    """No feature alone has a larger AUC than the limit, by the measurement of ``evaluate``."""

    name = label_leaks.NAME

    class Settings(Section):
        max_feature_auc: float | None = None
        """From the policy; None checks nothing."""

    def judge(self, comparison: ModelComparison) -> Sequence[Check]:
        limit = self.settings.max_feature_auc
        if limit is None:
            return []
        evaluated = comparison.reports.get("evaluate")
        aucs = evaluated.metrics.get("feature_auc") if evaluated is not None else None
        return [label_leaks.check(aucs or {}, limit, required=True)]
