"""The comparison that the gate's checks judge: both models, their rows and the reports."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.report import ModelRef, StageReport
from ml_pipeline.gate.comparison_set import ComparisonSet
from ml_pipeline.gate.decision import Goal

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.evaluation.holdout import Sample

    Floats = NDArray[np.float64]

StageReports = Mapping[str, StageReport | None]
"""Reports by stage and environment, as in ``verify staging``; None where there is none."""


@dataclass(frozen=True)
class ComparedRows:
    """The holdout rows that both models predicted, and what they predicted.

    Attributes:
        frame: features, ``__label``, ``__time``, ``__entity``, ``__group`` and ``__cluster`` of
            ``n`` labelled rows that neither model learned from.
        sample: their labels [n] and units of evidence (day, cluster or row).
        challenger: its predictions, [n] or [n, k] for k classes.
        other: those of the champion, or of the best heuristic where there is none.
    """

    frame: pd.DataFrame
    sample: Sample
    challenger: Floats
    other: Floats

    def losses(self, metric: str) -> tuple[Floats, Floats]:
        """Return the losses per row [n] of challenger and other by a metric that has them.

        Raises:
            KeyError: the metric is no mean over rows.
        """
        loss = self.sample.task.metrics[metric].row_loss
        if loss is None:
            raise KeyError(metric)
        labels = self.sample.labels
        return loss(labels, self.challenger), loss(labels, self.other)


@dataclass(frozen=True)
class ModelComparison:
    """Challenger and champion, or the best heuristic where there is no champion.

    Attributes:
        model: the challenger, as the registry knows it.
        challenger: manifest of its bundle, with the training record under ``training``.
        champion: manifest of the champion's bundle; None where there is no champion.
        reports: reports of the stages that have to have passed.
        advisory_reports: reports that are shown only.
        stages_without_model: stages whose report names no model, by the names of the reports.
        code_stages: stages that make no file that another reads, such as lint, likewise.
        comparisons: primary metric and guards, with the test of each.
        goal: what the challenger has to show.
        heuristic: the comparison with the best heuristic, where there is a champion too.
        rows: what both predicted; None where no fair comparison was possible.
        first_day: first day of the rows, where they are dated.
        why: what prevented a fair comparison.
        models: metrics of each model on the rows, with intervals.
        table: the same as a table for people.
        expected: the challenger's primary metric with its interval, which production is held to.
        earlier_decisions: rejections and rollbacks of the challenger, in one line.
    """

    model: ModelRef
    challenger: Mapping[str, Any]
    champion: Mapping[str, Any] | None
    reports: StageReports
    advisory_reports: StageReports
    comparisons: ComparisonSet
    stages_without_model: Collection[str] = ()
    code_stages: Sequence[str] = ()
    goal: Goal = "superior"
    heuristic: ComparisonSet | None = None
    rows: ComparedRows | None = None
    first_day: str | None = None
    why: str = ""
    models: Mapping[str, Any] | None = None
    table: Mapping[str, Any] | None = None
    expected: Mapping[str, Any] | None = None
    earlier_decisions: str = ""

    @property
    def against(self) -> str:
        """What the challenger was compared with."""
        return self.comparisons.primary.against

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as the gate's report and record contain it."""
        return {
            "goal": self.goal,
            "against": self.against,
            "first": self.first_day,
            **self.comparisons.to_json(),
            "models": self.models,
            "table": self.table,
            "expected": self.expected,
        }
