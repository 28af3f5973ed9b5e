"""From a matrix to a trained, exported and proven model. Reads no file and writes none."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_pipeline.config.train import ALL_DAYS, SearchSection
from ml_pipeline.core.artefacts import FITTED_COLUMN, GOLDEN_COLUMN, UNIT_COLUMN
from ml_pipeline.core.errors import Refused, UsageError, nearest
from ml_pipeline.core.onnx_session import TOLERANCE
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.features import request_contract
from ml_pipeline.features.schema import FeatureError, FeatureSchema
from ml_pipeline.problem import Matrix
from ml_pipeline.tasks.base import as_column
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.training import (
    matrix_checks,
    newest_rows,
    onnx_export,
    parameter_search,
    range_search,
    representative_rows,
)
from ml_pipeline.training.estimators.base import (
    Encoded,
    Estimator,
    FitSettings,
    LabelledRows,
    Vector,
)
from ml_pipeline.training.estimators.loader import check_parameters, load_estimator
from ml_pipeline.training.fitting import Recipe, fit, require_objective
from ml_pipeline.training.split import (
    Split,
    days_of,
    require_folds,
    split_by_hash,
    split_by_time,
)
from ml_pipeline.training.trained_model import TrainedModel, TrainingLimits
from ml_pipeline.training.trial_log import TrialLog
from ml_pipeline.training.windows import (
    WindowChoice,
    choose_window,
    first_day,
    require_dated,
    windows_of,
)

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

    from ml_pipeline.config import SplitSection, TrainSection
    from ml_pipeline.core.report import Progress
    from ml_pipeline.problem import Problem
    from ml_pipeline.tasks.base import Task
    from ml_pipeline.training.split import Rows
    from ml_pipeline.training.training_record import Trial, WindowTrial

PROVEN = 10_000
"""Real rows on which the export is proven, beside the random ones."""


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[what] = round(time.perf_counter() - start, 3)


def recipes_of(section: TrainSection, estimator: Estimator | None = None) -> list[Recipe]:
    """Return the recipes to choose from: ``search`` laid over ``params``, or ``params`` alone.

    Ranges of ``search`` are checked at their ends; their trials are made by ``range_search``.

    Args:
        section: Parameters, sets of parameters and calibration.
        estimator: The one to fit; None is the plug-in that the section names.

    Raises:
        UsageError: the estimator or a parameter is unknown, or a value is out of its range.
    """
    estimator = estimator or load_estimator(section.estimator)
    if isinstance(section.search, SearchSection):
        for over in range_search.limits(section.search):
            check_parameters(estimator, {**section.params, **over}, "train.search.ranges")
    if isinstance(section.search, SearchSection) or not section.search:
        params = check_parameters(estimator, section.params)
        return [Recipe(estimator, params, section.calibration)]
    return [
        Recipe(
            estimator,
            check_parameters(
                estimator, {**section.params, **over}, f"train.search, set {number + 1},"
            ),
            section.calibration,
        )
        for number, over in enumerate(section.search)
    ]


def train(
    matrix: Matrix,
    frame: pd.DataFrame,
    problem: Problem,
    split_section: SplitSection,
    section: TrainSection,
    limits: TrainingLimits,
    progress: Progress,
    *,
    optional: Collection[str] = (),
    champion: FeatureSchema | None = None,
    hashed: Collection[str] = (),
    estimator: Estimator | None = None,
    log: TrialLog | None = None,
    task: Task = BINARY,
    change: date | None = None,
) -> TrainedModel:
    """Sample, split, choose, fit, calibrate, export and prove.

    Args:
        matrix: features, labels and keys of the clean rows.
        frame: the clean rows, in the same order.
        problem: says whether rows are dated, how far a label looks, and what an unseen category is.
        split_section: the sizes of the parts.
        section: estimator, parameters and limits.
        limits: of the run, before those of the section.
        progress: called during anything that takes long.
        optional: names of the features that a request may leave out.
        champion: the schema whose order the features keep; None where there is no champion.
        hashed: the columns by whose hash the champion's undated rows were split. They are used
            again where all of them are there, or a new column would put every row elsewhere and
            the two models could not be compared.
        estimator: the one to fit; None is the plug-in that the section names.
        log: keeps the trials of a search; None keeps them in memory.
        task: what is predicted.
        change: the day of the change that a window of training days may begin with; None where no
            change is known.

    Raises:
        UsageError: the configuration of estimator or split is wrong.
        Refused: the data cannot carry the split or the fit, or the export is not faithful.
    """
    recipes = recipes_of(section, estimator)
    _check_calibration(section, task)
    require_objective(recipes[0].estimator, task)
    matrix_checks.require_usable(matrix, task)
    matrix = _arranged(matrix, optional, champion)
    matrix, frame = _sampled(matrix, frame, problem, split_section, section, limits)
    kept = tuple(sorted(hashed)) if _is_part(hashed, frame) else None
    settings = FitSettings(
        seed=section.seed,
        threads=section.threads,
        max_epochs=limits.max_epochs or section.max_epochs,
        patience=section.patience,
    )
    clock = _Clock()
    choice = _Choice(section, recipes, log or TrialLog())
    with clock("split"):
        matrix, frame, split, window = _split(
            choice, matrix, frame, problem, split_section, limits, kept, change, settings, progress,
            task,
        )  # fmt: skip
    label = matrix.label.to_numpy(dtype=np.float64)
    learnt_from = split.rows("train")
    if len(learnt_from):
        task = task.learned(matrix.classes, label[learnt_from])
    matrix_checks.require_enough(split, label, section.min_rows, task, quick=limits.quick)
    fitted = FeatureSchema.fit(
        matrix.features.iloc[learnt_from], matrix.categorical, problem.unseen, optional
    )
    schema = request_contract.with_earlier_contracts(fitted, champion)
    x = _encoded(schema, matrix.features)
    with clock("search"):
        recipe, trials, chosen = _choose(
            choice, split, split_section, x, label, settings, limits, progress, task
        )
    with clock("fit"):
        train_part, validation = (
            LabelledRows(x[part], label[part]) for part in (learnt_from, split.rows("validation"))
        )
        model = fit(recipe, train_part, validation, settings, progress, task)
    with clock("export"):
        progress("exporting", 0.0)
        onnx = onnx_export.to_onnx(model, schema.width)
        parity = _parity(matrix.features, schema, split, section.seed)
        tried = np.concatenate(
            [_encoded(schema, parity), x[representative_rows.spread(_labelled(label), PROVEN)]]
        )
        difference = onnx_export.prove(model, onnx, tried)
    parity[task.column] = as_column(model.predict(_encoded(schema, parity)))
    chosen_rows = representative_rows.spread(learnt_from, representative_rows.REFERENCE)
    expected = model.predict(x[chosen_rows])
    later = np.concatenate([split.rows("validation"), split.rows("holdout")])
    answers = model.predict(x[later])
    reference = _reference(matrix, problem, task, (chosen_rows, later), (expected, answers))
    finite = _finite(answers, task)
    on_validation = answers[: len(validation.y)]
    loss = parameter_search.loss(validation.y, on_validation, task)
    targets = task.targets(train_part.y).mean(axis=0)
    constant = np.tile(targets, (len(validation.y), *[1] * np.ndim(targets)))
    base = parameter_search.loss(validation.y, constant, task)
    if finite.verdict is Verdict.PASS:
        task = task.calibrated(validation.y, on_validation, expected)
    measured = f"validation_{task.training_metric}"
    return TrainedModel(
        matrix=matrix,
        split=split,
        schema=schema,
        recipe=recipe,
        trials=trials,
        model=model,
        onnx=onnx,
        parity=parity,
        reference=reference,
        task=task,
        labels=task.label_summary(train_part.y),
        hashed=kept or () if problem.time_column is None else (),
        window=window,
        checks=(
            _enough(train_part, section.min_rows),
            _labels(train_part, validation, task),
            _values(matrix.features.iloc[learnt_from]),
            *window.checks(task.metrics[task.training_metric].title),
            chosen,
            finite,
            *model.checks(),
            _faithful(difference, len(tried)),
        ),
        metrics={
            "rows": split.counts(),
            "features": len(schema.features),
            "width": schema.width,
            **task.label_summary(train_part.y),
            "best_round": model.fitted.best_round,
            measured: loss,
            f"{measured}_of_{task.baseline}": base,
            "export_difference": difference,
            "cutoffs": split.cutoffs.model_dump(),
            "folds": [trial.model_dump(mode="json") for trial in trials],
            **window.metrics(),
            "seconds": clock.seconds,
        },
    )


def _is_part(columns: Collection[str], frame: pd.DataFrame) -> bool:
    """Return whether these are some of the frame's columns, and not all of them."""
    return bool(columns) and {*columns} < {*map(str, frame.columns)}


def _arranged(matrix: Matrix, optional: Collection[str], champion: FeatureSchema | None) -> Matrix:
    """Return the matrix with its features in the order of the request contract."""
    names = [str(name) for name in matrix.features.columns]
    for name in optional:
        if name not in names:
            raise UsageError(f"features.optional: unknown '{name}'", hint=nearest(name, names))
    order = request_contract.request_order(names, optional, champion)
    return replace(matrix, features=matrix.features[order])


def _sampled(
    matrix: Matrix,
    frame: pd.DataFrame,
    problem: Problem,
    split: SplitSection,
    section: TrainSection,
    limits: TrainingLimits,
) -> tuple[Matrix, pd.DataFrame]:
    limit = limits.max_samples or section.max_samples
    if limit is None or limit >= len(frame):
        return matrix, frame
    if problem.time_column is None:
        chosen = newest_rows.hashed_rows(frame, limit)
    else:
        holdout_days, validation_days = (
            (split.quick_holdout_days, split.quick_validation_days)
            if limits.quick
            else (split.holdout_days, split.validation_days)
        )
        chosen = newest_rows.newest_rows(
            matrix.keys, limit, 2 * (holdout_days + validation_days + 2 * problem.horizon)
        )
    return _subset(matrix, frame, chosen)


def _subset(matrix: Matrix, frame: pd.DataFrame, rows: Rows) -> tuple[Matrix, pd.DataFrame]:
    return (
        replace(
            matrix,
            features=matrix.features.iloc[rows].reset_index(drop=True),
            label=matrix.label.iloc[rows].reset_index(drop=True),
            keys=matrix.keys.iloc[rows].reset_index(drop=True),
        ),
        frame.iloc[rows].reset_index(drop=True),
    )


def _split(
    choice: _Choice,
    matrix: Matrix,
    frame: pd.DataFrame,
    problem: Problem,
    section: SplitSection,
    limits: TrainingLimits,
    hashed: Collection[str] | None,
    change: date | None,
    settings: FitSettings,
    progress: Progress,
    task: Task,
) -> tuple[Matrix, pd.DataFrame, Split, WindowChoice]:
    """Split the rows, without those before the window of days to train on."""
    label = matrix.label.to_numpy(dtype=np.float64)
    if problem.time_column is None:
        require_dated(choice.section)
        split = split_by_hash(frame, label, section, problem.cluster_column, hashed)
        return matrix, frame, split, WindowChoice()
    split = split_by_time(matrix.keys, label, section, problem.horizon, quick=limits.quick)
    window = _choose_window(
        choice, change, matrix, split, section, settings, limits, progress, task
    )
    if window.first_day is not None:
        inside = np.flatnonzero(days_of(matrix.keys["time"]) >= window.first_day)
        matrix, frame = _subset(matrix, frame, inside)
        label = matrix.label.to_numpy(dtype=np.float64)
        split = split_by_time(matrix.keys, label, section, problem.horizon, quick=limits.quick)
    return matrix, frame, split, window


def _choose_window(
    choice: _Choice,
    change: date | None,
    matrix: Matrix,
    split: Split,
    split_section: SplitSection,
    settings: FitSettings,
    limits: TrainingLimits,
    progress: Progress,
    task: Task,
) -> WindowChoice:
    """Return the window of days to train on, compared walk-forward where there are several.

    They are compared with the first recipe; features are encoded by all of the training part.
    """
    section = choice.section
    if section.window == ALL_DAYS and not section.windows:
        return WindowChoice()
    train = split.rows("train")
    if limits.quick or not len(train):
        return WindowChoice(skipped="a quick run trains on all days of its sample")
    windows = windows_of(section, change)
    day = days_of(matrix.keys["time"])
    trials: tuple[WindowTrial, ...] = ()
    window = windows[0]
    if len(windows) > 1:
        label = matrix.label.to_numpy(dtype=np.float64)
        schema = FeatureSchema.fit(matrix.features.iloc[train], matrix.categorical, "missing", ())
        window, trials = choose_window(
            windows,
            choice.recipes[0],
            require_folds(split, split_section, "train.windows"),
            day,
            _encoded(schema, matrix.features),
            label,
            settings,
            progress,
            task.learned(matrix.classes, label[train]),
            min_rows=section.min_rows,
        )
    first = None if window.is_all else first_day(window, day, train)
    return WindowChoice(window, trials, first)


@dataclass(frozen=True)
class _Choice:
    """What there is to choose from: recipes, or the ranges of the section around the only one."""

    section: TrainSection
    recipes: list[Recipe]
    log: TrialLog

    @property
    def ranges(self) -> SearchSection | None:
        search = self.section.search
        return search if isinstance(search, SearchSection) else None

    def recipe_of(self, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a trial's values, laid over ``params``."""
        params = {**self.section.params, **values}
        (base,) = self.recipes
        return replace(base, params=check_parameters(base.estimator, params, "train.search.ranges"))


def _choose(
    choice: _Choice,
    split: Split,
    section: SplitSection,
    x: Encoded,
    label: Vector,
    settings: FitSettings,
    limits: TrainingLimits,
    progress: Progress,
    task: Task,
) -> tuple[Recipe, tuple[Trial, ...], Check]:
    why = ""
    recipes, ranges = choice.recipes, choice.ranges
    if ranges is not None and limits.quick:
        why = "a quick run takes train.params and tries no others"
    elif ranges is None and len(recipes) == 1:
        why = "one parameter set: nothing to choose from"
    elif limits.quick:
        why = f"a quick run takes the first of {len(recipes)} parameter sets"
    if why:
        skipped = Check(
            name="model selection",
            verdict=Verdict.SKIPPED,
            required=False,
            observed="not run",
            expected="walk-forward folds where train.search gives a choice",
            why=why,
        )
        return recipes[0], (), skipped
    folds = require_folds(split, section, "train.search")
    if ranges is None:
        recipe, trials = parameter_search.search(recipes, folds, x, label, settings, progress, task)
        place = recipes.index(recipe)
    else:

        def score(recipe: Recipe, number: int) -> Trial:
            def report(what: str, share: float) -> None:
                progress(
                    f"trial {number + 1} of {ranges.trials}: {what}",
                    (number + share) / ranges.trials,
                )

            return parameter_search.search([recipe], folds, x, label, settings, report, task)[1][0]

        rows = [part for fold in folds for part in (fold.train, fold.validation, fold.test)]
        choice.log.open(*(each.tobytes() for part in rows for each in (part, x[part], label[part])))
        recipe, trials = range_search.search_ranges(
            ranges, choice.recipe_of, score, settings.seed, choice.log
        )
        params = recipe.params.model_dump()
        place = next(number for number, trial in enumerate(trials) if trial.params == params)
    title = task.metrics[task.training_metric].title
    means = [round(trial.mean, 6) for trial in trials]
    return (
        recipe,
        trials,
        Check(
            name="model selection",
            verdict=Verdict.PASS,
            required=False,
            observed=f"set {place + 1} of {len(trials)}, mean {title} {means[place]}",
            expected=f"the least mean {title} over the walk-forward folds",
            why=f"means: {', '.join(map(str, means))}",
        ),
    )


def _encoded(schema: FeatureSchema, features: pd.DataFrame) -> Encoded:
    try:
        return schema.encode({str(name): column for name, column in features.items()})
    except FeatureError as error:
        raise Refused(
            str(error), hint="with an unseen category: problem.unseen can be 'missing'"
        ) from None


def _parity(features: pd.DataFrame, schema: FeatureSchema, split: Split, seed: int) -> pd.DataFrame:
    import pandas as pd

    train = split.rows("train")
    golden = features.iloc[representative_rows.golden_rows(features, train)]
    random = representative_rows.random_rows(
        features.iloc[representative_rows.spread(train, representative_rows.RANDOM)], schema, seed
    )
    both = pd.concat([golden, random.astype(features.dtypes.to_dict())], ignore_index=True)
    both[GOLDEN_COLUMN] = np.arange(len(both)) < len(golden)
    return both


def _reference(
    matrix: Matrix,
    problem: Problem,
    task: Task,
    rows: tuple[Rows, Rows],
    predictions: tuple[Vector, Vector],
) -> pd.DataFrame:
    """Return rows that the model was fitted to and later ones, as ``reference.parquet`` has them.

    Predictions for rows of the fit are further from the middle than those that production gets, so
    only the later rows show how predictions are distributed; at most as many as of the first.
    """
    kept = representative_rows.spread(np.arange(len(rows[1])), representative_rows.REFERENCE)
    chosen = np.concatenate([rows[0], rows[1][kept]])
    table = matrix.features.iloc[chosen].reset_index(drop=True)
    table[task.column] = as_column(np.concatenate([predictions[0], predictions[1][kept]]))
    table[FITTED_COLUMN] = np.arange(len(chosen)) < len(rows[0])
    if problem.time_column is not None:
        days = days_of(matrix.keys["time"].iloc[chosen])
        table[UNIT_COLUMN] = np.floor(days.astype("float64")).astype(np.int64)
    return table


def _check_calibration(section: TrainSection, task: Task) -> None:
    """Raise UsageError where the task does not take ``train.calibration``."""
    if section.calibration not in task.calibrations:
        raise UsageError(
            f"train.calibration is {section.calibration}, which a {task.title} does not take",
            expected=" or ".join(task.calibrations),
        )


def _labelled(label: Vector) -> Rows:
    return np.flatnonzero(~np.isnan(label))


def _enough(train: LabelledRows, least: int) -> Check:
    return Check(
        name="rows",
        verdict=Verdict.PASS if len(train.y) >= least else Verdict.FAIL,
        observed=len(train.y),
        expected=f"at least {least} rows to train on",
    )


def _labels(train: LabelledRows, validation: LabelledRows, task: Task) -> Check:
    """Return whether the labels of the training part can be learned."""
    if task.name == BINARY.name:
        rates = {"train": float(train.y.mean()), "validation": float(validation.y.mean())}
        return Check(
            name="classes",
            verdict=Verdict.PASS if 0 < rates["train"] < 1 else Verdict.FAIL,
            observed=rates,
            expected="both classes in the training part",
        )
    fault = task.training_fault(train.y)
    return Check(
        name="labels",
        verdict=Verdict.FAIL if fault else Verdict.PASS,
        observed={
            "train": task.label_summary(train.y),
            "validation": task.label_summary(validation.y),
        },
        expected="labels in the training part that a model can be fitted to",
        why=f"the labels {fault}" if fault else "",
    )


def _values(train: pd.DataFrame) -> Check:
    empty = matrix_checks.empty_features(train)
    return Check(
        name="feature values",
        verdict=Verdict.FAIL if empty else Verdict.PASS,
        required=False,
        observed=", ".join(empty) or "none is empty",
        expected="every feature to have a value in the training part",
        why="an empty feature teaches nothing" if empty else "",
    )


def _finite(answers: Vector, task: Task) -> Check:
    wrong = int(task.invalid(answers).sum())
    return Check(
        name="finite fit",
        verdict=Verdict.FAIL if wrong or not len(answers) else Verdict.PASS,
        observed=f"{wrong} of {len(answers)} answers are no {task.prediction_noun}",
        expected=f"a {task.prediction_noun} for every row of validation and holdout",
    )


def _faithful(difference: float, count: int) -> Check:
    return Check(
        name="export",
        verdict=Verdict.PASS if difference <= TOLERANCE else Verdict.FAIL,
        observed=difference,
        expected=f"ONNX within {TOLERANCE:g} of the model in memory on {count} rows",
    )
