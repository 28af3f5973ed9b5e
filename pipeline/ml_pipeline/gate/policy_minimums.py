"""The policy's minimum for the gate: ``ml.yaml`` may be stricter, never looser."""

from __future__ import annotations

from ml_pipeline.config import GateMinimums, GateSection
from ml_pipeline.core.errors import UsageError
from ml_pipeline.gate.comparison_set import ComparisonRules

BUILT_IN = "the built-in minimum"
"""What messages call the minimum where no policy file sets one."""


def require(
    minimum: GateMinimums, section: GateSection, rules: ComparisonRules, where: str = BUILT_IN
) -> None:
    """Refuse settings of the gate that are looser than the policy's minimum.

    Args:
        minimum: ``gate`` of the policy.
        section: ``gate`` of ``ml.yaml``.
        rules: what the section amounts to for the problem.
        where: the file that sets the minimum.

    Raises:
        UsageError: naming the key that is looser.
    """
    from ml_pipeline.gate.checks import paired_difference, request_contract

    paired_difference.check_minimum(minimum, section, rules, where)
    request_contract.check_minimum(minimum, section, where)


def looser(where: str, key: str, setting: object, expected: str) -> UsageError:
    """Return the error about a key of ``gate`` that is looser than the policy's."""
    return UsageError(
        f"gate.{key} is {setting}",
        expected=f"{expected}, as the policy's 'gate' says",
        hint=f"ml.yaml may only tighten {where}",
    )
