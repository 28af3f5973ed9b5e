"""Who may approve, and what a promotion needs: the administrators' floor, tightened by the project.

``ml.yaml`` lies in the commit that it governs, so it may only tighten; the floor is a file that the
administrators hold (``--policy FILE`` or ``ML_POLICY``).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import Field, field_validator

from pipeline import config
from pipeline.config import GateFloor, PolicySection, Section
from pipeline.errors import UsageError


class Policy(Section):
    """The rules in force. The defaults are the built-in floor: a person approves, whoever it is."""

    approvers: tuple[str, ...] = Field((), description="Who may approve; empty is anyone.")
    four_eyes: bool = Field(
        False, description="Nobody approves a change of which they are an author."
    )
    identities: dict[str, str] = Field(
        default_factory=dict, description="Commit address: the approver's name, for four eyes."
    )
    automatic: bool = Field(False, description="A project may promote without a person.")
    allow_yes: bool = Field(True, description="`approve --yes` counts as an approval.")
    require: tuple[str, ...] = Field((), description="Stages whose report must have passed.")
    gate: GateFloor = Field(GateFloor(), description="How strict the gate is at least.")
    keys: tuple[str, ...] = Field(
        (), description="Trusted public keys: PEM, or the id of one in the home; empty: the home's."
    )

    @field_validator("identities")
    @classmethod
    def _lower(cls, value: dict[str, str]) -> dict[str, str]:
        return {address.strip().lower(): name for address, name in value.items()}

    @property
    def digest(self) -> str:
        """Return the SHA-256 that gate and approval state; equal rules, equal digest."""
        rules = self.model_dump(mode="json")
        for key in ("approvers", "require", "keys"):
            rules[key] = sorted(set(rules[key]))
        text = json.dumps(rules, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def may_approve(self, name: str) -> bool:
        return not self.approvers or name in self.approvers


def load(path: Path | None, section: PolicySection) -> Policy:
    """Return the policy in force: the floor of ``path`` (None: built in) with the project's own.

    Raises:
        UsageError: the file cannot be read or has an unknown key, or the project would loosen it.
    """
    return tighten(floor(path), section)


def floor(path: Path | None) -> Policy:
    """Read the administrators' file; without one the built-in floor holds.

    Raises:
        UsageError: the file cannot be read, is no mapping, or has an unknown key.
    """
    if path is None:
        return Policy()
    return config.parse(Policy, config.mapping(path, f"the policy {path}"), str(path))


def tighten(base: Policy, section: PolicySection) -> Policy:
    """Lay the project's section over the floor.

    Raises:
        UsageError: a key of the section would allow what the floor forbids.
    """
    approvers = base.approvers
    if section.approvers is not None:
        beyond = sorted(set(section.approvers) - set(base.approvers))
        if base.approvers and (beyond or not section.approvers):
            raise _loosens("approvers", ", ".join(beyond) or "anyone", ", ".join(base.approvers))
        approvers = section.approvers
    if section.four_eyes is False and base.four_eyes:
        raise _loosens("four_eyes", "false", "true")
    if section.allow_yes and not base.allow_yes:
        raise _loosens("allow_yes", "true", "false")
    if section.automatic and not base.automatic:
        raise _loosens("automatic", "true", "false")
    return base.model_copy(
        update={
            "approvers": approvers,
            "four_eyes": base.four_eyes or bool(section.four_eyes),
            "allow_yes": base.allow_yes and section.allow_yes is not False,
            "automatic": base.automatic and section.automatic,
            "require": tuple(dict.fromkeys((*base.require, *section.require))),
        }
    )


def _loosens(key: str, wanted: str, allowed: str) -> UsageError:
    return UsageError(
        f"policy.{key} in ml.yaml would loosen the policy to '{wanted}'",
        expected=f"no more than '{allowed}'",
        hint="ml.yaml may only tighten what the administrators' file (--policy, ML_POLICY) sets",
    )
