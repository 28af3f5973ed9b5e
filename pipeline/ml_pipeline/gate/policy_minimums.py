"""The policy's minimum for the gate: ``ml.yaml`` may be stricter, never looser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_pipeline.config import GateMinimums, GateSection
from ml_pipeline.core.schema_errors import parse
from ml_pipeline.gate.checks import paired_difference, request_contract
from ml_pipeline.gate.checks.base import PolicyBound, looser
from ml_pipeline.gate.checks.loader import load_check, policy_bound
from ml_pipeline.gate.comparison_set import ComparisonRules

BUILT_IN = "the built-in minimum"
"""What messages call the minimum where no policy file sets one."""


IN_REPOSITORY = ":"
"""In the name of a check in the project's repository: ``module:name``."""


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
    paired_difference.check_minimum(minimum, section, rules, where)
    request_contract.check_minimum(minimum, section, where)


def effective_checks(
    section: GateSection, minimum: GateMinimums, where: str
) -> dict[str, dict[str, Any]]:
    """Return the configured checks that are on, with their settings.

    Those are the checks of ``ml.yaml``, and those that the policy demands beyond them, with the
    policy's settings. Where both name a check, the project's settings hold, which may be stricter
    than the policy's, never looser.

    Args:
        section: ``gate`` of ``ml.yaml``.
        minimum: ``gate`` of the policy.
        where: the file that sets the minimum.

    Raises:
        UsageError: a setting is looser than the policy's or unknown, or a check cannot be loaded.
    """
    for name, demanded in minimum.checks.items():
        if name in section.checks:
            _require_settings(name, section.checks[name], demanded, where)
    added = {key: value for key, value in minimum.checks.items() if key not in section.checks}
    return {**section.checks, **added}


def check_settings(section: GateSection, minimum: GateMinimums, where: str) -> None:
    """Refuse configured checks that are not installed, and settings that are wrong or looser.

    The settings of a check in the repository are validated by its own process.

    Raises:
        UsageError: naming the check.
    """
    for name, settings in effective_checks(section, minimum, where).items():
        _with_defaults(name, settings)


def stricter_settings(
    name: str, one: Mapping[str, Any], other: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the stricter of two policies' settings of a check; None where neither is stricter.

    Raises:
        UsageError: the check cannot be loaded.
    """
    merged = {**one, **other}
    for key in one.keys() & other.keys():
        if one[key] == other[key]:
            continue
        bound = _bound(name, key)
        if bound is None:
            return None
        merged[key] = bound.stricter(one[key], other[key])
    return merged


def _require_settings(
    name: str, own: Mapping[str, Any], demanded: Mapping[str, Any], where: str
) -> None:
    """Refuse settings of a check in ``ml.yaml`` that are looser than the policy's."""
    settings = _with_defaults(name, own)
    limits = _with_defaults(name, {**own, **demanded})
    for key in demanded:
        setting, limit = settings.get(key, "missing"), limits[key]
        bound = _bound(name, key)
        if bound is None and setting != limit:
            raise looser(where, f"checks.{name}.{key}", setting, str(limit))
        if bound is not None and not bound.allows(setting, limit):
            raise looser(where, f"checks.{name}.{key}", setting, f"{bound.direction} {limit}")


def _with_defaults(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of an installed check; of one in the repository, those that are set."""
    if IN_REPOSITORY in name:
        return dict(settings)
    return dict(vars(parse(load_check(name).Settings, settings, f"gate.checks: {name}")))


def _bound(name: str, key: str) -> PolicyBound | None:
    """Return how the policy bounds a setting; one of a check in the repository has to be equal."""
    return None if IN_REPOSITORY in name else policy_bound(load_check(name), key)
