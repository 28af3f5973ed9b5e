"""Verdicts on comparisons: pass, fail or inconclusive.

A bound decides, never an estimate: a gain passes when its lower bound exceeds the threshold, fails
when its upper bound lies below it, and is inconclusive between. Without a test, or with numbers
that are not finite, it is inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.gate.comparison import Comparison
from ml_pipeline.statistics.paired_test import PairedTest

Goal = Literal["superior", "non_inferior"]

OF_THE_DATA = frozenset({"data", "contract", "accepts", "split", "change"})
"""The parts of an identity that follow from the data; the others together are the recipe."""


def goal_for(
    goal_setting: Literal["auto", "superior", "non_inferior"],
    challenger: Mapping[str, str],
    champion: Mapping[str, str] | None,
    *,
    same_features: bool = True,
) -> Goal:
    """Return what the challenger has to show.

    ``auto``: the champion's own recipe on other data has to be fresher and no worse
    (``non_inferior``); another recipe has to be better (``superior``). Without a champion the
    goal is always ``superior``.

    Args:
        goal_setting: ``gate.goal``.
        challenger: Its identity parts.
        champion: The champion's; None where there is none.
        same_features: Whether both take features of the same names and kinds.
    """
    if champion is None:
        return "superior"
    if goal_setting != "auto":
        return goal_setting
    same = same_features and bool(champion) and _recipe(challenger) == _recipe(champion)
    return "non_inferior" if same else "superior"


def threshold(goal: Goal, margin: float, non_inferior_margin: float) -> float:
    """Return the gain that the lower bound has to exceed."""
    return margin if goal == "superior" else -non_inferior_margin


def decide(comparison: Comparison, *, name: str = "") -> Check:
    """Return the check of one comparison against the threshold that it was tested for."""
    title = comparison.title
    name = name or f"{title} against {comparison.against}"
    test = comparison.test
    if test is None:
        return Check(
            name=name,
            verdict=Verdict.INCONCLUSIVE,
            observed="no test",
            expected="a comparison that can be tested",
            why=comparison.why or "the comparison was not made",
        )
    numbers = (test.effect, test.low, test.high, test.p_value, test.null, test.detectable)
    if not all(math.isfinite(number) for number in numbers):
        return Check(
            name=name,
            verdict=Verdict.INCONCLUSIVE,
            observed=describe(test),
            expected="finite numbers",
            why="a test without finite numbers shows nothing",
        )
    if test.low > test.null:
        verdict, why = Verdict.PASS, ""
    elif test.high < test.null:
        verdict, why = Verdict.FAIL, _failure(comparison, test)
    else:
        verdict, why = Verdict.INCONCLUSIVE, _undecided(comparison, test)
    return Check(
        name=name,
        verdict=verdict,
        observed=describe(test),
        expected=f"a lower bound above {test.null:+.4f} (positive is better)",
        why=why,
    )


def describe(test: PairedTest) -> str:
    """Return effect, interval, p-value and number of units in one line."""
    return (
        f"{test.effect:+.4f} [{test.low:+.4f}, {test.high:+.4f}], p {test.p_value:.2g}, n {test.n}"
    )


def _failure(comparison: Comparison, test: PairedTest) -> str:
    worst = "worse than" if test.high < 0 else "not better enough than"
    return (
        f"the challenger is {worst} {comparison.against}: even the upper bound "
        f"{test.high:+.4f} is below {test.null:+.4f}"
    )


def _undecided(comparison: Comparison, test: PairedTest) -> str:
    """Return why an interval includes the threshold: equal models, a likely loss, or no power."""
    unit, against = comparison.unit, comparison.against
    if test.effect == 0 and test.std_error == 0:
        return (
            f"equal: the challenger and {against} have the same value on each of {test.n} {unit}s"
        )
    if test.effect < min(test.null, 0.0):
        return (
            f"looks worse than {against}, not proved: seen was {test.effect:+.4f}, and the upper "
            f"bound {test.high:+.4f} is not below {test.null:+.4f}"
        )
    if test.effect <= test.null:
        return (
            f"looks no better than asked for: seen was {test.effect:+.4f}, asked for is "
            f"{test.null:+.4f}; more {unit}s alone are unlikely to change that"
        )
    return (
        f"no power: the smallest effect that {test.n} {unit}s detect is "
        f"{test.null + test.detectable:+.4f} ({test.power:.0%} of the time), seen was "
        f"{test.effect:+.4f}; more {unit}s or a metric with less variance would decide"
    )


def _recipe(parts: Mapping[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in parts.items() if name not in OF_THE_DATA}
