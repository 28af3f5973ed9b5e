"""Windows of the training days: all, the last N, or those since a date.

Candidates are compared by walking forward: each is fitted, fold by fold, on its window of the
fold's training days and scored on the later days of the fold. The holdout takes no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml_pipeline.config.train import ALL_DAYS
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.training import parameter_search
from ml_pipeline.training.split import Fold, Rows
from ml_pipeline.training.training_record import UsedWindow, WindowTrial

if TYPE_CHECKING:
    from ml_pipeline.config.train import TrainSection, Window
    from ml_pipeline.core.report import Progress
    from ml_pipeline.tasks.base import Task
    from ml_pipeline.training.estimators.base import Encoded, FitSettings, Vector
    from ml_pipeline.training.fitting import Recipe

CHECK = "training window"
Days = npt.NDArray[Any]
"""The day of every row, as ``split.days_of`` returns it."""


@dataclass(frozen=True)
class TrainingWindow:
    """A window whose date, if it has one, is known."""

    days: int | None = None
    since: date | None = None
    is_change: bool = False
    """Whether the date is that of a change that ``monitor`` found."""

    @property
    def is_all(self) -> bool:
        return self.days is None and self.since is None

    def __str__(self) -> str:
        if self.days is not None:
            return f"the last {self.days} days"
        if self.since is not None:
            return f"since the change of {self.since}" if self.is_change else f"since {self.since}"
        return "all days"

    def to_json(self) -> dict[str, Any] | str:
        """Return the window as ``train.window`` has it, with the date of a change."""
        if self.days is not None:
            return {"days": self.days}
        return "all" if self.since is None else {"since": self.since.isoformat()}

    def start(self, day: Days, rows: Rows) -> Any:
        """Return the first day of the window that ends with the last of these rows.

        Raises:
            UsageError: the window has a date, and the days are plain numbers.
        """
        days = np.unique(day[rows])
        if self.days is not None:
            return days[max(len(days) - self.days, 0)]
        if self.since is None:
            return days[0]
        if not np.issubdtype(day.dtype, np.datetime64):
            raise UsageError(
                f"train.window: since {self.since}, and the problem counts its times in numbers",
                expected="all, or days: N",
            )
        return np.datetime64(self.since, "D")


@dataclass(frozen=True)
class WindowChoice:
    """The window that was chosen, and how."""

    window: TrainingWindow | None = None
    """None where the configuration sets none: all days."""
    trials: tuple[WindowTrial, ...] = ()
    first_day: Any = None
    """The first day of the window; None for all days."""
    skipped: str = ""
    """Why no window was chosen; empty if one was."""

    def used(self) -> UsedWindow | None:
        """Return what the training record says of it; None for all days."""
        if self.window is None or self.first_day is None:
            return None
        return UsedWindow(
            window=self.window.to_json(), title=str(self.window), first_day=str(self.first_day)
        )

    def checks(self, metric: str) -> tuple[Check, ...]:
        """Return the check of the report; none where the configuration sets no window."""
        expected = f"the least mean {metric} over the walk-forward folds, or the only window"
        if self.skipped:
            return (
                Check(
                    name=CHECK,
                    verdict=Verdict.SKIPPED,
                    required=False,
                    observed="all days",
                    expected=expected,
                    why=self.skipped,
                ),
            )
        if self.window is None:
            return ()
        start = "" if self.first_day is None else f", from {self.first_day}"
        return (
            Check(
                name=CHECK,
                verdict=Verdict.PASS,
                required=False,
                observed=f"{self.window}{start}",
                expected=expected,
                why="; ".join(
                    f"{_title(trial)}: {trial.why or f'{trial.mean:.6f}'}" for trial in self.trials
                ),
            ),
        )

    def metrics(self) -> dict[str, Any]:
        """Return the table of the report; empty where there was no choice."""
        if not self.trials or self.window is None:
            return {}
        return {
            "windows": {
                _title(trial): {
                    "mean_loss": trial.mean,
                    "fold_losses": [round(score, 6) for score in trial.scores],
                    "fold_rows": list(trial.rows),
                    "chosen": trial.window == self.window.to_json(),
                    "why_not": trial.why,
                }
                for trial in self.trials
            }
        }


def _title(trial: WindowTrial) -> str:
    window = trial.window
    if isinstance(window, str):
        return "all days"
    return f"the last {window['days']} days" if "days" in window else f"since {window['since']}"


def windows_of(section: TrainSection, change: date | None) -> tuple[TrainingWindow, ...]:
    """Return the windows to choose from: ``windows``, or ``window`` alone.

    A window since a change is left out of several where no change is known, and is all days where
    it is the only one.

    Args:
        section: The configuration.
        change: The day of the change that ``monitor`` found last; None where it found none.
    """
    listed = section.windows or (section.window,)
    found = [_resolved(window, change) for window in listed]
    kept = tuple(dict.fromkeys(window for window in found if window is not None))
    return kept or (TrainingWindow(),)


def require_dated(section: TrainSection) -> None:
    """Raise UsageError where ``train`` sets a window of days, and rows have none."""
    for key in ("windows", "window"):
        if getattr(section, key) not in (ALL_DAYS, ()):
            raise UsageError(
                f"train.{key} selects days, and the rows of this problem have no time",
                expected="train.window: all",
            )


def _resolved(window: Window, change: date | None) -> TrainingWindow | None:
    if window.since == "change":
        return None if change is None else TrainingWindow(since=change, is_change=True)
    return TrainingWindow(days=window.days, since=window.since)


def first_day(window: TrainingWindow, day: Days, train: Rows) -> Any:
    """Return the first day to train on.

    Raises:
        Refused: no day of the training part is in the window.
    """
    start, last = window.start(day, train), day[train].max()
    if start > last:
        raise Refused(
            f"train.window: no day to train on is in the window {window}; the last one is {last}",
            expected="a window that reaches back before the validation part",
            hint="lower split.holdout_days and split.validation_days, or compare windows with "
            "train.windows: [all, ...]",
        )
    return start


def choose_window(
    windows: Sequence[TrainingWindow],
    recipe: Recipe,
    folds: Sequence[Fold],
    day: Days,
    x: Encoded,
    y: Vector,
    settings: FitSettings,
    progress: Progress,
    task: Task,
    *,
    min_rows: int,
) -> tuple[TrainingWindow, tuple[WindowTrial, ...]]:
    """Compare windows fold by fold; return the one of least mean loss, and what each scored.

    A window with too few rows, or with labels that cannot be learned, on one of the folds is not
    compared. Of equals the first wins.

    Args:
        windows: At least two.
        recipe: Fitted on every window.
        folds: At least one, all before the holdout.
        day: The day of every row.
        x: Encoded features [n, width] of all rows.
        y: Their labels [n].
        settings: As for the final fit.
        progress: Called after every fit.
        task: Gives the loss.
        min_rows: The fewest rows of a window.

    Raises:
        Refused: none of the windows can be compared.
    """
    trials: list[WindowTrial] = []
    scores: dict[tuple[bytes, ...], tuple[float, ...]] = {}
    for number, window in enumerate(windows):
        inside = [_inside(window, fold, day) for fold in folds]
        fault = _fault(inside, y, task, min_rows)
        rows = tuple(len(fold.train) for fold in inside)
        if fault:
            trials.append(WindowTrial(window=window.to_json(), rows=rows, why=fault))
            continue
        key = tuple(fold.train.tobytes() for fold in inside)
        if key not in scores:

            def report(what: str, share: float, number: int = number) -> None:
                done = (number + share) / len(windows)
                progress(f"window {number + 1} of {len(windows)}: {what}", done)

            _, (trial,) = parameter_search.search([recipe], inside, x, y, settings, report, task)
            scores[key] = trial.scores
        trials.append(WindowTrial(window=window.to_json(), rows=rows, scores=scores[key]))
    compared = [place for place, trial in enumerate(trials) if trial.mean is not None]
    if not compared:
        raise Refused(
            "train.windows: none of the windows can be compared: "
            + "; ".join(
                f"{window}: {trial.why}" for window, trial in zip(windows, trials, strict=True)
            ),
            hint="lower split.folds or split.fold_days, or bring more data",
        )
    best = min(compared, key=lambda place: (trials[place].mean, place))
    return windows[best], tuple(trials)


def _inside(window: TrainingWindow, fold: Fold, day: Days) -> Fold:
    rows = fold.train
    return replace(fold, train=rows[day[rows] >= window.start(day, rows)])


def _fault(folds: Sequence[Fold], y: Vector, task: Task, min_rows: int) -> str:
    """Return why a window cannot be fitted on each of the folds; empty if it can."""
    for number, fold in enumerate(folds, 1):
        if len(fold.train) < min_rows:
            return f"{len(fold.train)} rows in fold {number}, fewer than train.min_rows, {min_rows}"
        if fault := task.training_fault(y[fold.train]):
            return f"the labels of fold {number} {fault}"
    return ""
