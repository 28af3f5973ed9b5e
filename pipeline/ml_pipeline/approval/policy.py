"""The policy: who may approve, and the minimum that a promotion requires.

The minimum is the administrators' file (see ``policy_files``), else the built-in one. The argument
``--policy FILE`` and ``ml.yaml``, which is part of the commit that it governs, may only tighten it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, field_validator

from ml_pipeline import config
from ml_pipeline.approval.person_names import is_one_of, normalize_name
from ml_pipeline.config import GateMinimums, PolicySection, Section
from ml_pipeline.core import schema_errors
from ml_pipeline.core.errors import UsageError


class Policy(Section):
    """The rules in force. By default, the built-in minimum, any person may approve."""

    approvers: tuple[str, ...] = Field((), description="Who may approve; empty is anyone.")
    four_eyes: bool = Field(False, description="An author of a change may not approve it.")
    identities: dict[str, str] = Field(
        default_factory=dict, description="Commit address: the approver's name, for four eyes."
    )
    automatic: bool = Field(False, description="A project may promote without a person.")
    allow_yes: bool = Field(True, description="`approve --yes` counts as an approval.")
    require: tuple[str, ...] = Field((), description="Stages whose report must have passed.")
    gate: GateMinimums = Field(GateMinimums(), description="How strict the gate is at least.")
    keys: tuple[str, ...] = Field(
        (), description="Trusted public keys: PEM, or the id of one in the home; empty: the home's."
    )

    @field_validator("identities")
    @classmethod
    def _normalize_addresses(cls, value: dict[str, str]) -> dict[str, str]:
        identities: dict[str, str] = {}
        for address, name in value.items():
            if identities.setdefault(normalize_name(address), name) != name:
                raise ValueError(
                    f"{address} is listed twice, in different spellings, with two names"
                )
        return identities

    @property
    def digest(self) -> str:
        """Return the SHA-256 that gate and approval state; equal rules, equal digest."""
        rules = self.model_dump(mode="json")
        if not self.gate.checks:
            del rules["gate"]["checks"]  # a policy without the key keeps its digest
        for key in ("approvers", "require", "keys"):
            rules[key] = sorted(set(rules[key]))
        text = json.dumps(rules, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def may_approve(self, name: str) -> bool:
        return not self.approvers or name in self.approvers


BUILT_IN = "the built-in minimum"
"""Name of the policy in messages if no file sets one."""

PolicyFiles = Path | tuple[Path | None, ...] | None
"""The administrators' file, and those that may only tighten it; None is the built-in minimum."""


def load(files: PolicyFiles, section: PolicySection) -> Policy:
    """Return the policy in force: that of the files, tightened by the project's own section.

    Raises:
        UsageError: a file cannot be read or has an unknown key, or a later one would loosen
            the policy before it.
    """
    return tighten(minimum(files), section, file_names(files))


def file_names(files: PolicyFiles) -> str:
    """Return the files by their paths, for messages."""
    paths = (files,) if isinstance(files, Path) else files or ()
    return " and ".join(str(path) for path in paths if path is not None) or BUILT_IN


def minimum(files: PolicyFiles) -> Policy:
    """Read the files, the first of which sets the minimum; without any the built-in one holds.

    Raises:
        UsageError: a file cannot be read, is not a mapping, has an unknown key, or would loosen
            those before it.
    """
    paths = (files,) if isinstance(files, Path) else files or ()
    if not paths:
        return Policy()
    first, *others = paths
    policy = Policy() if first is None else _read(first)
    for path in filter(None, others):
        policy = stricter(policy, _read(path), str(path), file_names((first,)))
    return policy


def _read(path: Path) -> Policy:
    return schema_errors.parse(Policy, config.mapping(path, f"the policy {path}"), str(path))


def stricter(base: Policy, other: Policy, where: str, of: str = BUILT_IN) -> Policy:
    """Return the policy that allows only what both allow.

    Lists of permissions (``approvers``, ``identities``, ``keys``) keep what is in both;
    requirements (``require``) are merged; of two limits the stricter one applies.

    Args:
        base: The administrators'.
        other: What may tighten it; a key that it does not set changes nothing.
        where: The file of ``other``, for messages.
        of: The file of ``base``, for messages.

    Raises:
        UsageError: no approver is left, or ``other`` names an address, a key or a primary
            metric that the administrators' file does not.
    """
    if unknown := sorted(
        address
        for address, name in other.identities.items()
        if (base.identities or base.four_eyes) and base.identities.get(address) != name
    ):
        raise _conflict_error(where, of, "identities", unknown[0])
    known = {_without_whitespace(entry) for entry in base.keys}
    if unknown := [entry for entry in other.keys if _is_foreign(entry, known)]:
        raise _conflict_error(where, of, "keys", " ".join(unknown[0].split())[:40])
    approvers = base.approvers or other.approvers
    if base.approvers and other.approvers:
        approvers = tuple(name for name in base.approvers if is_one_of(name, other.approvers))
        if not approvers:
            raise UsageError(
                f"{where}: none of its 'approvers' is one of {', '.join(base.approvers)}",
                expected="at least one name that is in the administrators' policy",
            )
    return Policy(
        approvers=approvers,
        four_eyes=base.four_eyes or other.four_eyes,
        identities=other.identities or base.identities,
        automatic=base.automatic and ("automatic" not in other.model_fields_set or other.automatic),
        allow_yes=base.allow_yes and other.allow_yes,
        require=tuple(dict.fromkeys((*base.require, *other.require))),
        gate=_stricter_gate(base.gate, other.gate, where, of),
        keys=other.keys or base.keys,
    )


def _stricter_gate(base: GateMinimums, other: GateMinimums, where: str, of: str) -> GateMinimums:
    if base.metric and other.metric and base.metric != other.metric:
        raise _conflict_error(where, of, "gate.metric", other.metric)
    goals = {base.goal, other.goal} - {None}
    guards = dict(base.guards)
    for name, margin in other.guards.items():
        guards[name] = min(margin, guards.get(name, margin))
    return GateMinimums(
        goal="superior" if "superior" in goals else base.goal or other.goal,
        metric=base.metric or other.metric,
        alpha=_stricter_limit(min, base.alpha, other.alpha),
        margin=_stricter_limit(max, base.margin, other.margin),
        non_inferior_margin=_stricter_limit(
            min, base.non_inferior_margin, other.non_inferior_margin
        ),
        min_days=_stricter_limit(max, base.min_days, other.min_days),
        max_feature_auc=_stricter_limit(min, base.max_feature_auc, other.max_feature_auc),
        guards=guards,
        allow_breaking_contract=base.allow_breaking_contract and other.allow_breaking_contract,
        checks=_stricter_checks(base.checks, other.checks, where, of),
    )


def _stricter_checks(
    base: Mapping[str, Mapping[str, Any]],
    other: Mapping[str, Mapping[str, Any]],
    where: str,
    of: str,
) -> dict[str, Mapping[str, Any]]:
    """Return the checks of both policies, each with the stricter settings."""
    checks = {**other, **base}
    for name in base.keys() & other.keys():
        if base[name] == other[name]:
            continue
        from ml_pipeline.gate.policy_minimums import stricter_settings

        settings = stricter_settings(name, base[name], other[name])
        if settings is None:
            raise _conflict_error(where, of, f"gate.checks.{name}", str(dict(other[name])))
        checks[name] = settings
    return checks


N = TypeVar("N", int, float)


def _stricter_limit(choose: Callable[[N, N], N], one: N | None, other: N | None) -> N | None:
    if one is None or other is None:
        return one if other is None else other
    return choose(one, other)


def _without_whitespace(entry: str) -> str:
    return "".join(entry.split())


def _is_foreign(entry: str, known: Collection[str]) -> bool:
    """Return whether a key is not the administrators': not listed or, without a list, PEM."""
    return _without_whitespace(entry) not in known if known else "BEGIN PUBLIC KEY" in entry


def _conflict_error(where: str, of: str, key: str, value: str) -> UsageError:
    return UsageError(
        f"{where}: {key} names '{value}', which the administrators' policy does not allow",
        expected="less than the administrators' policy allows, or the same",
        hint=f"it may only tighten {of}; 'ml-pipeline doctor' lists the files in force",
    )


def tighten(base: Policy, section: PolicySection, where: str = BUILT_IN) -> Policy:
    """Return the minimum, tightened by the project's section; ``where`` names the minimum's file.

    Raises:
        UsageError: a key of the section would allow what the minimum forbids.
    """
    approvers = base.approvers
    if section.approvers is not None:
        additional = sorted(name for name in section.approvers if not base.may_approve(name))
        if base.approvers and (additional or not section.approvers):
            raise _loosening_error(
                where, "approvers", ", ".join(additional) or "anyone", ", ".join(base.approvers)
            )
        approvers = section.approvers
    if section.four_eyes is False and base.four_eyes:
        raise _loosening_error(where, "four_eyes", "false", "true")
    if section.allow_yes and not base.allow_yes:
        raise _loosening_error(where, "allow_yes", "true", "false")
    if section.automatic and not base.automatic:
        raise _loosening_error(where, "automatic", "true", "false")
    return base.model_copy(
        update={
            "approvers": approvers,
            "four_eyes": base.four_eyes or bool(section.four_eyes),
            "allow_yes": base.allow_yes and section.allow_yes is not False,
            "automatic": base.automatic and section.automatic,
            "require": tuple(dict.fromkeys((*base.require, *section.require))),
        }
    )


def _loosening_error(where: str, key: str, requested: str, allowed: str) -> UsageError:
    return UsageError(
        f"policy.{key} in ml.yaml would loosen the policy to '{requested}'",
        expected=f"no more than '{allowed}'",
        hint=f"ml.yaml may only tighten {where}",
    )
