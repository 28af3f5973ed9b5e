"""Whether requests of the champion's clients fit the challenger's request contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml_pipeline.config import GateMinimums, GateSection, Section
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.features.request_contract import ContractChange, compare
from ml_pipeline.features.schema import FeatureSchema
from ml_pipeline.gate.checks.base import GateCheck, looser
from ml_pipeline.gate.model_comparison import ModelComparison

NAME = "request contract"
ALLOW = "gate.allow_breaking_contract"


class RequestContract(GateCheck):
    """A change that breaks the champion's clients passes only where the project allows it."""

    name = NAME

    class Settings(Section):
        allow_breaking_contract: bool = False

    def judge(self, comparison: ModelComparison) -> Check:
        return self.judgement(comparison).check

    def judgement(self, comparison: ModelComparison) -> ContractJudgement:
        """Return the check with the change of the contract.

        Raises:
            Refused: a manifest does not hold features that can be read.
        """
        return judge_contract(
            comparison.challenger,
            comparison.champion,
            allowed=self.settings.allow_breaking_contract,
        )


def check_minimum(minimum: GateMinimums, section: GateSection, where: str) -> None:
    """Refuse to allow a breaking contract where the policy forbids it.

    Raises:
        UsageError: naming the key.
    """
    if section.allow_breaking_contract and not minimum.allow_breaking_contract:
        raise looser(where, "allow_breaking_contract", "true", "false")


@dataclass(frozen=True)
class ContractJudgement:
    """The check, and what changes for clients; ``change`` is None without a champion."""

    check: Check
    digest: str
    change: ContractChange | None = None

    @property
    def breaks(self) -> bool:
        return self.change is not None and self.change.change == "breaking"

    def headline(self, summary: str) -> str:
        """Return the gate's summary, which begins with a broken contract that is allowed."""
        if self.breaks and self.check.verdict is Verdict.PASS:
            return f"clients break, {self.change}. {summary}"
        return summary

    def to_json(self) -> dict[str, Any]:
        change = self.change
        return {
            "digest": self.digest,
            "change": None if change is None else change.change,
            "broken": [] if change is None else list(change.broken),
            "extensions": [] if change is None else list(change.extensions),
        }


def judge_contract(
    challenger: Mapping[str, Any], champion: Mapping[str, Any] | None, *, allowed: bool
) -> ContractJudgement:
    """Compare the request contracts of two bundles by their manifests.

    Args:
        challenger: its manifest.
        champion: the champion's; None where there is no champion.
        allowed: whether the project allows a breaking one.

    Raises:
        Refused: a manifest does not hold features that can be read.
    """
    new = schema_of(challenger, "challenger")
    if champion is None:
        check = Check(
            name=NAME,
            verdict=Verdict.PASS,
            observed=f"the first one, {new.contract[:12]}",
            expected="one that serves the champion's clients",
        )
        return ContractJudgement(check, new.contract)
    former = schema_of(champion, "champion")
    change = compare(former, new)
    breaks = change.change == "breaking"
    reordered = breaks and {*former.names} == {*new.names} and former.names != new.names
    allow = f"set {ALLOW}: true once they are informed"
    if reordered:
        hint = "run 'ml-pipeline train' again, which keeps the order of the champion of now"
    elif added := _only_added(former, new, change):
        hint = (
            f"'features: {{optional: {json.dumps(added, ensure_ascii=False)}}}' in ml.yaml lets "
            f"requests leave {'it' if len(added) == 1 else 'them'} out; or {allow}"
        )
    else:
        hint = f"keep what clients send, or {allow}"
    return ContractJudgement(
        Check(
            name=NAME,
            verdict=Verdict.FAIL if breaks and not allowed else Verdict.PASS,
            observed=str(change),
            expected=f"any change, since {ALLOW} is true"
            if allowed
            else "compatible or extended: requests of the champion's clients are read as before",
            why=f"{change}; {hint}" if breaks else "",
        ),
        new.contract,
        change,
    )


def _only_added(former: FeatureSchema, new: FeatureSchema, change: ContractChange) -> list[str]:
    """Return the new and required features, if nothing else breaks."""
    added = [
        feature.name
        for feature in new.features
        if feature.name not in former.names and not feature.optional
    ]
    broken = {f"feature '{name}' is new and required" for name in added}
    return added if broken == {*change.broken} else []


def schema_of(manifest: Mapping[str, Any], model: str) -> FeatureSchema:
    """Return the features of a manifest; raises Refused where they cannot be read."""
    try:
        return FeatureSchema.from_json(manifest["features"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refused(f"the {model}'s manifest: features: {error}") from None
