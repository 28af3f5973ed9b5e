"""Chooses among parameter sets by their mean loss over walk-forward folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ml_pipeline.core.errors import Refused
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.training.estimators.base import Encoded, FitSettings, LabelledRows, Vector
from ml_pipeline.training.fitting import Recipe, fit
from ml_pipeline.training.training_record import Trial

if TYPE_CHECKING:
    from ml_pipeline.core.report import Progress
    from ml_pipeline.tasks.base import Task
    from ml_pipeline.training.split import Fold, Rows

LEAST = 1e-15


def log_loss(label: Vector, probability: Vector) -> float:
    """Return the mean negative log likelihood in nats; both of shape [n]."""
    clipped = np.clip(probability, LEAST, 1 - LEAST)
    return float(-np.mean(label * np.log(clipped) + (1 - label) * np.log1p(-clipped)))


def loss(label: Vector, prediction: Vector, task: Task) -> float:
    """Return the task's training metric over all rows."""
    if task.name == BINARY.name:
        return log_loss(label, prediction)
    day = np.zeros(len(label), dtype=np.int64)
    return task.metrics[task.training_metric].value(label, prediction, day)


def search(
    recipes: Sequence[Recipe],
    folds: Sequence[Fold],
    x: Encoded,
    y: Vector,
    settings: FitSettings,
    progress: Progress,
    task: Task = BINARY,
) -> tuple[Recipe, tuple[Trial, ...]]:
    """Fit every recipe on every fold; return the one of least mean loss, and all scores.

    Of equals the first wins.

    Args:
        recipes: at least one.
        folds: at least one.
        x: encoded features [n, width] of all rows that the folds point to.
        y: their labels [n].
        settings: as for the final fit.
        progress: called after every fit.
        task: gives the loss.

    Raises:
        Refused: a model cannot be fitted to a fold's labels, or no recipe has a finite score.
    """
    for number, fold in enumerate(folds):
        if fault := task.training_fault(y[fold.train]):
            reason = "are of one class" if task.name == BINARY.name else fault
            raise Refused(
                f"all training rows of walk-forward fold {number + 1} {reason}",
                hint="lower split.folds or split.fold_days",
            )
    trials: list[Trial] = []
    total = len(recipes) * len(folds)
    for recipe in recipes:
        scores: list[float] = []
        for fold in folds:
            done = len(trials) * len(folds) + len(scores)
            progress(f"walk-forward fit {done + 1} of {total}", done / total)
            parts = (_at(fold.train, x, y), _at(fold.validation, x, y))
            model = fit(recipe, *parts, settings, _quiet, task)
            scores.append(loss(y[fold.test], model.predict(x[fold.test]), task))
        trials.append(Trial(params=recipe.params.model_dump(), scores=tuple(scores)))
    means = np.array([trial.mean for trial in trials])
    if not np.isfinite(means).any():
        title = task.metrics[task.training_metric].title
        raise Refused(f"no parameter set of train.search has a finite {title} on the folds")
    return recipes[int(np.nanargmin(means))], tuple(trials)


def _at(rows: Rows, x: Encoded, y: Vector) -> LabelledRows:
    return LabelledRows(x[rows], y[rows])


def _quiet(what: str, share: float) -> None:
    """Ignore the progress of a single fit: the search reports its own."""
