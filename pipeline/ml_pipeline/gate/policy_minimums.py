"""The policy's floor for the gate: ``ml.yaml`` may ask for more, never for less."""

from __future__ import annotations

from ml_pipeline.config import GateFloor, GateSection
from ml_pipeline.core.errors import UsageError
from ml_pipeline.gate.comparison_set import Rules

BUILT_IN = "the built-in minimum"
"""What messages call the floor where no policy file sets one."""

ALLOWED_GOALS = {"auto": ("auto", "superior"), "superior": ("superior",)}


def require(floor: GateFloor, section: GateSection, rules: Rules, where: str = BUILT_IN) -> None:
    """Hold the rules of a comparison against the floor, which ``where`` sets.

    Raises:
        UsageError: one of them is looser than the floor; it names the key.
    """
    if floor.goal is not None and section.goal not in ALLOWED_GOALS[floor.goal]:
        raise _looser(where, "goal", section.goal, " or ".join(ALLOWED_GOALS[floor.goal]))
    if floor.metric is not None and rules.metric != floor.metric:
        raise _looser(where, "metric", rules.metric, floor.metric)
    for key in ("alpha", "non_inferior_margin"):
        most, asked = getattr(floor, key), getattr(rules, key)
        if most is not None and asked > most:
            raise _looser(where, key, asked, f"at most {most}")
    if floor.margin is not None and rules.margin < floor.margin:
        raise _looser(where, "margin", rules.margin, f"at least {floor.margin}")
    if section.allow_breaking_contract and not floor.allow_breaking_contract:
        raise _looser(where, "allow_breaking_contract", "true", "false")
    if floor.min_days is not None and rules.min_units < floor.min_days:
        raise _looser(where, "min_days", rules.min_units, f"at least {floor.min_days}")
    for metric, most in floor.guards.items():
        if metric == rules.metric:
            continue
        if metric not in rules.guards:
            raise _looser(where, f"guards.{metric}", "missing", f"a margin of at most {most}")
        if rules.guards[metric] > most:
            raise _looser(where, f"guards.{metric}.margin", rules.guards[metric], f"at most {most}")


def _looser(where: str, key: str, asked: object, expected: str) -> UsageError:
    return UsageError(
        f"gate.{key} is {asked}",
        expected=f"{expected}, as the policy's 'gate' says",
        hint=f"ml.yaml may only tighten {where}",
    )
