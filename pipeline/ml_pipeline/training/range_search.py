"""Searches ranges of parameters with Optuna's TPE sampler, trial by trial.

A trial's parameters are a function of the seed and of the trials before it alone. So a search that
was interrupted goes on with the very trials that it would have made (``TrialLog``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ml_pipeline.config.train import Range, SearchSection
from ml_pipeline.core.errors import UsageError
from ml_pipeline.training.training_record import Trial

if TYPE_CHECKING:
    from ml_pipeline.training.fitting import Recipe
    from ml_pipeline.training.trial_log import TrialLog

STARTUP = 10
"""Trials at random before the sampler learns from them (Optuna's own default)."""


def search_ranges(
    section: SearchSection,
    recipe_of: Callable[[Mapping[str, Any]], Recipe],
    score: Callable[[Recipe, int], Trial],
    seed: int,
    log: TrialLog,
) -> tuple[Recipe, tuple[Trial, ...]]:
    """Make the trials; return the recipe of least mean loss, the first of equals, and all trials.

    Args:
        section: Ranges, and how many trials there are.
        recipe_of: Makes a recipe of the values of a trial.
        score: Fits a recipe on every fold; the second argument is the number of the trial.
        seed: Of the sampler.
        log: Holds the trials of an interrupted run, and takes each new one.
    """
    trials: list[tuple[dict[str, Any], Trial]] = []
    for number in range(section.trials):
        recorded = log.trial(number)
        if recorded is None:
            values = suggest(section, trials, seed)
            trial = score(recipe_of(values), number)
            log.append(values, trial)
        else:
            values, trial = recorded
        trials.append((values, trial))
    best = min(range(len(trials)), key=lambda number: trials[number][1].mean)
    return recipe_of(trials[best][0]), tuple(trial for _, trial in trials)


def suggest(
    section: SearchSection, trials: list[tuple[dict[str, Any], Trial]], seed: int
) -> dict[str, Any]:
    """Return the values of the next trial, by parameter."""
    import numpy as np
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own = int(np.random.SeedSequence([seed, len(trials)]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=own, n_startup_trials=STARTUP)
    study = optuna.create_study(sampler=sampler)
    space = _distributions(section)
    for values, trial in trials:
        study.add_trial(
            optuna.trial.create_trial(params=values, distributions=space, value=trial.mean)
        )
    return dict(study.ask(space).params)


def limits(section: SearchSection) -> list[dict[str, Any]]:
    """Return values at the ends of every range, and every choice, to be checked before a search."""
    ends_and_choices = []
    for name, values in section.ranges.items():
        ends = (values.low, values.high) if isinstance(values, Range) else values
        ends_and_choices += [{name: end} for end in ends]
    return ends_and_choices


def _distributions(section: SearchSection) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    distributions: dict[str, Any] = {}
    for name, values in sorted(section.ranges.items()):
        if not isinstance(values, Range):
            if not values:
                raise UsageError(f"train.search.ranges.{name} is empty", expected="choices")
            distributions[name] = CategoricalDistribution(values)
        elif isinstance(values.low, int) and isinstance(values.high, int):
            distributions[name] = IntDistribution(values.low, values.high, log=values.log)
        else:
            distributions[name] = FloatDistribution(
                float(values.low), float(values.high), log=values.log
            )
    return distributions
