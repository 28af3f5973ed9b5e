"""The checks of the stage ``evaluate``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ml_pipeline.config import EvaluateSection, Threshold
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.evaluation.metric_table import Measured
from ml_pipeline.statistics.paired_test import paired_difference
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.tasks.metrics import named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.evaluation.holdout import Sample
    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]


def valid_predictions(predictions: Floats, task: Task = BINARY) -> Check:
    """Return whether there are predictions and each is one of the task."""
    bad = int(task.invalid(predictions).sum())
    passed = len(predictions) > 0 and bad == 0
    binary = task.name == BINARY.name
    return Check(
        name="predictions are probabilities" if binary else "predictions are valid",
        verdict=Verdict.PASS if passed else Verdict.FAIL,
        observed=f"{bad} of {len(predictions)} are not",
        expected=f"every prediction a {'number from 0 to 1' if binary else task.prediction_noun}",
        why="" if passed else "a model without finite predictions cannot be measured",
    )


def check_metrics(section: EvaluateSection, *, has_groups: bool, task: Task = BINARY) -> None:
    """Refuse limits that no model could meet, before one is trained.

    Raises:
        UsageError: a limit names an unknown metric, a gap one that has no value for a group, or
            there are gaps and the problem has no groups.
    """
    for name in section.thresholds:
        if not task.defers_metric(name):
            named(task.metrics, name, "evaluate.thresholds")
    for name in section.group_gaps:
        named(task.metrics, name, "evaluate.group_gaps")
        if name not in task.group_metrics:
            raise UsageError(
                f"evaluate.group_gaps: '{name}' has no value for a group",
                expected=f"one of: {', '.join(task.group_metrics)}",
            )
    if section.group_gaps and not has_groups:
        raise UsageError(
            "evaluate.group_gaps is set and the problem has no groups",
            hint="set problem.group (table) or data.groups, or leave the gaps out",
        )


def beats_baseline(sample: Sample, model: Floats, baseline: Floats, *, quick: bool) -> Check:
    """Return whether the model's loss is not worse than that of the constant baseline.

    The bound decides, not the estimate: it fails where the mean difference over the sample's units
    is below 0 with an error rate of 1 % (``paired_difference``). A quick model is not judged.
    """
    task = sample.task
    metric = task.metrics[task.training_metric]
    title, other = metric.title, task.baseline_title
    _, mine = metric.per_day(sample.labels, model, sample.codes)
    _, theirs = metric.per_day(sample.labels, baseline, sample.codes)
    differences = theirs - mine
    expected = f"{title} not worse than that of the {other} (positive is better)"
    try:
        test = paired_difference(differences, alpha=0.01, ordered=sample.unit == "day")
    except ValueError as error:
        effect, unknown = float(differences.mean()), len(differences) < 2
        worse, observed, why = effect < 0 and not unknown, f"{effect:+.4f}", str(error)
    else:
        unknown, worse = False, test.high < 0
        observed = f"{test.effect:+.4f} [{test.low:+.4f}, {test.high:+.4f}], n {test.n}"
        why = (
            "the model's probabilities are worse than a constant; look at train.calibration"
            if len(task.calibrations) > 1
            else "the model's predictions are worse than a constant; look at train.params"
        )
    if quick or unknown:
        verdict, why = Verdict.SKIPPED, why if unknown else "a quick model is not judged by it"
    elif worse:
        verdict = Verdict.FAIL
    else:
        verdict, why = Verdict.PASS, ""
    return Check(
        name=f"{title} against the {other}",
        verdict=verdict,
        required=not quick and not unknown,
        observed=observed,
        expected=expected,
        why=why,
    )


def thresholds(
    limits: Mapping[str, Threshold],
    measured: Mapping[str, Measured],
    *,
    quick: bool,
    task: Task = BINARY,
) -> list[Check]:
    """Return a check for each absolute limit. A quick model is shown against them, not judged.

    Raises:
        UsageError: a limit names an unknown metric.
    """
    checks = []
    for name, limit in limits.items():
        metric = named(task.metrics, name, "evaluate.thresholds")
        bounds = [f"at least {limit.min:g}"] if limit.min is not None else []
        bounds += [f"at most {limit.max:g}"] if limit.max is not None else []
        found = measured.get(name, Measured(skipped="it was not measured"))
        seen = found.value
        inside = (
            seen is not None
            and math.isfinite(seen)
            and (limit.min is None or seen >= limit.min)
            and (limit.max is None or seen <= limit.max)
        )
        if inside:
            verdict, why = Verdict.PASS, ""
        elif quick:
            verdict = Verdict.SKIPPED
            why = found.skipped or "a quick run has too few rows to be judged by a limit"
        elif seen is None or not math.isfinite(seen):
            verdict = Verdict.FAIL
            why = f"it has no value: {found.skipped or 'not a finite number'}"
        else:
            verdict, why = (
                Verdict.FAIL,
                f"{metric.title} lies outside what evaluate.thresholds asks",
            )
        checks.append(
            Check(
                name=f"threshold {name}",
                verdict=verdict,
                required=not quick,
                observed=seen if seen is not None else "no value",
                expected=" and ".join(bounds),
                why=why,
            )
        )
    return checks


def noise(effect: float, limit: float) -> Check:
    """Return whether noise in the last decimals hardly changes the predictions."""
    passed = effect <= limit
    return Check(
        name="invariant to noise",
        verdict=Verdict.PASS if passed else Verdict.FAIL,
        observed=effect,
        expected=f"a mean change of at most {limit:g}",
        why=""
        if passed
        else "the predictions depend on the last decimals of the inputs; try another estimator, or "
        "set evaluate.max_noise_effect",
    )


def group_gaps(
    limits: Mapping[str, float], gaps: Mapping[str, float], *, quick: bool, task: Task = BINARY
) -> list[Check]:
    """Return a check for each limit on the gap between groups.

    Raises:
        UsageError: a limit names an unknown metric.
    """
    checks = []
    for name, limit in limits.items():
        named(task.metrics, name, "evaluate.group_gaps")
        gap = gaps.get(name, math.nan)
        if math.isfinite(gap) and gap <= limit:
            verdict, why = Verdict.PASS, ""
        elif quick:
            verdict, why = Verdict.SKIPPED, "a quick sample is too small to compare groups"
        elif math.isfinite(gap):
            verdict, why = Verdict.FAIL, "one group is served worse than another"
        else:
            verdict, why = Verdict.FAIL, "there are not two groups of enough rows with this metric"
        checks.append(
            Check(
                name=f"gap between groups {name}",
                verdict=verdict,
                required=not quick,
                observed=gap,
                expected=f"at most {limit:g}",
                why=why,
            )
        )
    return checks
