"""A trained model with all that its files, its training record and its report are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from ml_pipeline.core.errors import UsageError
from ml_pipeline.training.training_record import TrainingRecord
from ml_pipeline.training.windows import WindowChoice

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.config import Config
    from ml_pipeline.core.report import Check, Profile
    from ml_pipeline.features.schema import FeatureSchema
    from ml_pipeline.problem import Matrix
    from ml_pipeline.tasks.base import Task
    from ml_pipeline.training.fitting import Model, Recipe
    from ml_pipeline.training.split import Split
    from ml_pipeline.training.training_record import Trial

QUICK_SAMPLES = 5000
QUICK_EPOCHS = 2


@dataclass(frozen=True)
class TrainingLimits:
    """Limits that a run sets in place of those of ``train`` in ``ml.yaml``; None: no limit.

    Attributes:
        quick: Whether the run only shows that training works.
        max_samples: Rows.
        max_epochs: Boosting rounds, trees or iterations, as the estimator counts.
    """

    quick: bool = False
    max_samples: int | None = None
    max_epochs: int | None = None

    @classmethod
    def of_flags(cls, max_samples: int | None, max_epochs: int | None, *, quick: bool) -> Self:
        """Return the limits of the flags; a quick run has small ones by default.

        Raises:
            UsageError: a flag is below 1.
        """
        for name, value in (("max-samples", max_samples), ("max-epochs", max_epochs)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}", expected="at least 1")
        if quick:
            max_samples = QUICK_SAMPLES if max_samples is None else max_samples
            max_epochs = QUICK_EPOCHS if max_epochs is None else max_epochs
        return cls(quick, max_samples, max_epochs)

    def to_json(self) -> dict[str, Any]:
        """Return the limits as the model's identity contains them."""
        return {
            "quick": self.quick or None,
            "max_samples": self.max_samples,
            "max_epochs": self.max_epochs,
        }


@dataclass(frozen=True)
class TrainedModel:
    """The result of ``train``.

    Attributes:
        matrix: Features, labels and keys of the rows used.
        split: The part of each row.
        schema: How raw features are encoded.
        recipe: Estimator, parameters and calibration that were chosen.
        trials: Those of the parameter search.
        model: The fitted model.
        onnx: Its export.
        parity: Raw golden and random rows, with the task's column of predictions and ``__golden``.
        reference: Raw training rows with the task's column of predictions.
        task: What is predicted, with what training learned of it.
        labels: Figures of the labels of the training part.
        checks: Those of the stage's report.
        metrics: Those of the stage's report.
        hashed: The columns that undated rows were split by, where these are not all.
        window: The window of days that dated rows were trained on.
    """

    matrix: Matrix
    split: Split
    schema: FeatureSchema
    recipe: Recipe
    trials: tuple[Trial, ...]
    model: Model
    onnx: bytes
    parity: pd.DataFrame
    reference: pd.DataFrame
    task: Task
    labels: dict[str, Any]
    checks: tuple[Check, ...]
    metrics: dict[str, Any]
    hashed: tuple[str, ...] = ()
    window: WindowChoice = field(default_factory=WindowChoice)

    @property
    def chosen_trial(self) -> Trial | None:
        params = self.recipe.params.model_dump()
        return next((trial for trial in self.trials if trial.params == params), None)

    @property
    def summary(self) -> str:
        """One line: estimator, rows, and the loss on the validation part beside the baseline's."""
        metrics, task = self.metrics, self.task
        measured = f"validation_{task.training_metric}"
        rounds = f", {metrics['best_round']} rounds" if metrics["best_round"] else ""
        end = self.split.cutoffs.train_end
        until = f" to {end}" if end else ""
        if self.window.used() is not None:
            until += f" ({self.window.window})"
        return (
            f"{self.recipe.estimator.name}{rounds} on {metrics['rows']['train']} rows{until}; "
            f"validation {task.metrics[task.training_metric].title} {metrics[measured]:.4f} "
            f"({task.baseline_title} {metrics[f'{measured}_of_{task.baseline}']:.4f})"
        )

    def record(
        self,
        config: Config,
        problem: str,
        profile: Profile,
        identity: str,
        identity_parts: Mapping[str, str],
    ) -> TrainingRecord:
        """Return the training record.

        Args:
            config: Names the project, and the seed.
            problem: The problem's kind.
            profile: Of the run.
            identity: Digest of the model version.
            identity_parts: The digests that it is made of; ``data`` is that of the clean rows.
        """
        chosen = self.chosen_trial
        return TrainingRecord(
            project=config.project,
            problem=problem,
            estimator=self.recipe.estimator.name,
            params=self.recipe.params.model_dump(mode="json"),
            best_round=self.model.fitted.best_round,
            calibration=self.recipe.calibration,
            seed=config.train.seed,
            profile=profile,
            rows=self.split.counts(),
            cutoffs=self.split.cutoffs,
            split={"method": self.split.method, **self.split.detail},
            positive_rate=self.labels.get("positive_rate"),
            task=self.task.to_json(),
            folds=chosen.scores if chosen else (),
            search=self.trials,
            window=self.window.used(),
            windows=self.window.trials,
            fingerprint=identity_parts["data"],
            identity=identity,
            identity_parts=dict(identity_parts),
        )
