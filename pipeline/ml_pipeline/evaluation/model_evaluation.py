"""Evaluate a model on the labelled rows of the holdout beside its baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.artefacts import GROUP_COLUMN, LABEL_COLUMN
from ml_pipeline.core.report import Check, Verdict, blocking
from ml_pipeline.evaluation import baselines, checks, label_leaks, metric_table
from ml_pipeline.evaluation.fairness import ByGroup, by_group
from ml_pipeline.evaluation.holdout import Sample
from ml_pipeline.evaluation.noise_sensitivity import Predict, noise_effect

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.config import EvaluateSection
    from ml_pipeline.features.schema import FeatureSchema
    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model and its baselines.

    Attributes:
        sample: The labelled rows of the holdout.
        predictions: Of each predictor for the sample, the model's under ``model``.
        table: Each metric of each predictor.
        noise_effect: Mean change of a prediction when its inputs change in the last decimals.
        feature_aucs: AUC of each feature alone, the largest first.
        groups: Metrics by group; None where ``no_groups`` says why there are none.
        no_groups: The reason.
        best_heuristic: Name of the best heuristic by the metric that the gate compares by.
    """

    sample: Sample
    predictions: Mapping[str, Floats]
    table: metric_table.Table
    noise_effect: float
    feature_aucs: Mapping[str, float]
    groups: ByGroup | None
    no_groups: str
    best_heuristic: str

    @property
    def task(self) -> Task:
        return self.sample.task

    def checks(self, section: EvaluateSection, *, quick: bool) -> list[Check]:
        """Return the checks of ``evaluate`` in ``ml.yaml``; a quick model is measured, not judged.

        Raises:
            UsageError: a limit names an unknown metric.
        """
        task, model = self.task, self.predictions[metric_table.MODEL]
        gaps = self.groups.gaps if self.groups else {}
        return [
            checks.beats_baseline(self.sample, model, self.predictions[task.baseline], quick=quick),
            *checks.thresholds(
                section.thresholds, self.table[metric_table.MODEL], quick=quick, task=task
            ),
            checks.noise(self.noise_effect, section.max_noise_effect),
            label_leaks.check(
                self.feature_aucs,
                section.max_feature_auc,
                required=section.feature_auc_required and not quick,
            ),
            *checks.group_gaps(section.group_gaps, gaps, quick=quick, task=task),
            *self._skipped(),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the metrics of the stage's report."""
        sample, task = self.sample, self.task
        dated = sample.unit == "day"
        linear = task.linear_baseline.replace("_", " ")
        titles = {task.baseline: task.baseline_title, task.linear_baseline: linear}
        return {
            "rows": len(sample.labels),
            "unit": sample.unit,
            "units": sample.clusters,
            **task.unit_summary(sample.labels, sample.codes, sample.clusters),
            "first": sample.names[0] if dated else None,
            "last": sample.names[-1] if dated else None,
            **task.label_summary(sample.labels),
            "best_heuristic": self.best_heuristic,
            "noise_effect": self.noise_effect,
            "feature_auc": self.feature_aucs,
            "models": {
                predictor: {metric: value.to_json() for metric, value in row.items()}
                for predictor, row in self.table.items()
            },
            "by_group": self.groups.to_json() if self.groups else None,
            "groups": self.groups.as_text() if self.groups else None,
            "table": metric_table.as_text(self.table, titles, task),
        }

    def summary(self, every_check: Sequence[Check]) -> str:
        """Return one line: the required checks that did not pass, then the main metrics."""
        task = self.task
        model, constant = self.table[metric_table.MODEL], self.table[task.baseline]
        parts = []
        for name in task.summary_metrics:
            measured = model[name]
            if measured.value is None:
                continue
            form, interval = task.summary_format, ""
            if measured.low is not None and name == task.summary_metrics[0]:
                interval = f" [{measured.low:{form}}, {measured.high:{form}}]"
            parts.append(f"{task.metrics[name].title} {measured.value:{form}}{interval}")
        loss = task.training_metric
        parts.append(
            f"{task.metrics[loss].title} {model[loss].value:.4f} vs "
            f"{constant[loss].value:.4f} {task.baseline_title}"
        )
        failed = [check.name for check in blocking(every_check)]
        if failed:
            more = " and more" if len(failed) > 3 else ""
            parts.insert(0, f"failed: {', '.join(failed[:3])}{more}")
        return ", ".join(parts)

    def _skipped(self) -> list[Check]:
        """Return a check for each metric that was not measured, with the reason."""
        model = self.table[metric_table.MODEL]
        checked = [
            _skipped(name, "a value", measured.skipped)
            for name, measured in model.items()
            if measured.skipped
        ]
        if self.no_groups:
            expected = f"rows that define {', '.join(self.task.group_metrics)}"
            checked.append(_skipped("metrics by group", expected, self.no_groups))
        return checked


def evaluate(
    predict: Predict,
    predictions: Mapping[str, Floats],
    holdout: pd.DataFrame,
    matrix: pd.DataFrame,
    schema: FeatureSchema,
    task: Task,
    section: EvaluateSection,
    *,
    metric: str,
    seed: int,
) -> Evaluation:
    """Measure the model and its baselines on the labelled rows of the holdout.

    Args:
        predict: From encoded rows float32 [n, width] to predictions [n] or [n, k].
        predictions: Of each predictor for all rows of the holdout.
        holdout: ``holdout.parquet``, of which at least one row has a label.
        matrix: ``matrix.parquet``, with ``__part`` and ``__label``.
        schema: How raw features are encoded.
        task: What is predicted.
        section: Resamples, and size of the noise.
        metric: The one that the best heuristic is chosen by.
        seed: Of resampling and noise.

    Raises:
        ValueError: a prediction is not finite.
    """
    labelled = holdout[LABEL_COLUMN].notna().to_numpy()
    sample = Sample.of(holdout[labelled], task)
    known = {name: values[labelled] for name, values in predictions.items()}
    table = metric_table.measure(sample, known, resamples=section.resamples, seed=seed)
    groups, no_groups = _groups(holdout[labelled], sample, known[metric_table.MODEL])
    return Evaluation(
        sample,
        known,
        table,
        noise_effect(
            predict,
            schema,
            holdout[list(schema.names)],
            relative=section.noise,
            seed=seed,
            task=task,
        ),
        label_leaks.feature_aucs(matrix, schema.names, task),
        groups,
        no_groups,
        baselines.best_heuristic(metric, sample, known),
    )


def _groups(rows: pd.DataFrame, sample: Sample, predictions: Floats) -> tuple[ByGroup | None, str]:
    """Return the metrics by group, or why there are none."""
    group = rows[GROUP_COLUMN]
    has_group = group.notna().to_numpy() & (group.astype("object") != "").to_numpy()
    if group[has_group].nunique() < 2:
        return None, "the rows are of fewer than two groups"
    names = group[has_group].to_numpy()
    return by_group(sample.labels[has_group], predictions[has_group], names, sample.task), ""


def _skipped(name: str, expected: str, reason: str) -> Check:
    return Check(
        name=name,
        verdict=Verdict.SKIPPED,
        required=False,
        observed="no value",
        expected=expected,
        why=reason,
    )
