"""The questions that evaluate asks of a model, each as a check."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.config import Threshold
from pipeline.evaluation.measure import Measured
from pipeline.evaluation.metrics import named
from pipeline.report import Check, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def finite(probabilities: Floats) -> Check:
    """Return whether there are predictions and each is a number from 0 to 1."""
    import numpy as np

    good = np.isfinite(probabilities) & (probabilities >= 0) & (probabilities <= 1)
    bad = len(probabilities) - int(good.sum())
    passed = len(probabilities) > 0 and bad == 0
    return Check(
        name="predictions are probabilities",
        verdict=Verdict.PASS if passed else Verdict.FAIL,
        observed=f"{bad} of {len(probabilities)} are not",
        expected="every prediction a number from 0 to 1",
        why="" if passed else "a model without finite predictions cannot be measured",
    )


def thresholds(
    limits: Mapping[str, Threshold], measured: Mapping[str, Measured], *, quick: bool
) -> list[Check]:
    """Return a check for each absolute limit. A quick model is shown against them, not judged.

    Raises:
        UsageError: a limit names an unknown metric.
    """
    checks = []
    for name, limit in limits.items():
        metric = named(name, "evaluate.thresholds")
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
            why = found.skipped or "a quick model is too small a sample to be held to a limit"
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
    """Return whether noise in the last decimals leaves the answers where they were."""
    passed = effect <= limit
    return Check(
        name="invariant to noise",
        verdict=Verdict.PASS if passed else Verdict.FAIL,
        observed=effect,
        expected=f"a mean change of at most {limit:g}",
        why="" if passed else "the model's answers hang on the last decimals of its inputs",
    )


def group_gaps(
    limits: Mapping[str, float], gaps: Mapping[str, float], *, quick: bool
) -> list[Check]:
    """Return a check for each limit on the gap between groups.

    Raises:
        UsageError: a limit names an unknown metric.
    """
    checks = []
    for name, limit in limits.items():
        named(name, "evaluate.group_gaps")
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
